-- Sections that are written anew alone, without a run. Twin of migrations/postgres/0007_single_sections.sql.
--
-- The attempts of one such rewriting belong together by `rewrite_id`, the id of the first of them. SQLite cannot make a
-- column nullable, so the table is made anew.
CREATE TABLE attempts_anew (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  run_id BLOB REFERENCES runs (id) ON DELETE CASCADE,
  project_id BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  section_id BLOB NOT NULL,
  section_key TEXT NOT NULL,
  number INTEGER NOT NULL,
  status TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  template_version_id BLOB NOT NULL,
  prompt_hash TEXT NOT NULL,
  input_tokens INTEGER,
  output_tokens INTEGER,
  spend_micros INTEGER,
  failure_code TEXT,
  failure_message TEXT,
  started_at TEXT NOT NULL,
  finished_at TEXT,
  failure_retryable BOOLEAN,
  reserved_micros INTEGER,
  rewrite_id BLOB
);
INSERT INTO attempts_anew (id, workspace_id, run_id, project_id, section_id, section_key, number, status, provider, model,
  template_version_id, prompt_hash, input_tokens, output_tokens, spend_micros, failure_code, failure_message, started_at, finished_at,
  failure_retryable, reserved_micros)
SELECT id, workspace_id, run_id, project_id, section_id, section_key, number, status, provider, model,
  template_version_id, prompt_hash, input_tokens, output_tokens, spend_micros, failure_code, failure_message, started_at, finished_at,
  failure_retryable, reserved_micros
FROM attempts;
DROP TABLE attempts;
ALTER TABLE attempts_anew RENAME TO attempts;
CREATE UNIQUE INDEX attempts_number ON attempts (run_id, section_id, number);
CREATE INDEX attempts_of_project ON attempts (project_id, started_at, id);
CREATE INDEX attempts_of_run ON attempts (run_id, started_at, id);
CREATE UNIQUE INDEX attempts_number_alone ON attempts (rewrite_id, number) WHERE rewrite_id IS NOT NULL;
CREATE INDEX attempts_of_section ON attempts (section_id, started_at);
