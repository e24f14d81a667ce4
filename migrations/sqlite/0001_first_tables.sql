-- The first tables. Twin of migrations/postgres/0001_first_tables.sql: change both, see migrations/README.md.

-- The tenant and its people.
CREATE TABLE workspaces (
  id BLOB PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  created_at TEXT NOT NULL
);

CREATE TABLE users (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL REFERENCES workspaces (id),
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  email TEXT,
  display_name TEXT NOT NULL,
  created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX users_subject ON users (workspace_id, issuer, subject);

-- Templates: versions never change.
CREATE TABLE templates (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL REFERENCES workspaces (id),
  key TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  search TEXT NOT NULL,
  built_in BOOLEAN NOT NULL,
  archived_at TEXT,
  current_version_id BLOB NOT NULL,
  current_number INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX templates_key ON templates (workspace_id, key);

CREATE TABLE template_versions (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  template_id BLOB NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  sections TEXT NOT NULL,
  instructions TEXT,
  note TEXT,
  created_by BLOB,
  created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX template_versions_number ON template_versions (template_id, number);

-- A batch: its row is the lock under which event sequences are given.
CREATE TABLE batches (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL REFERENCES workspaces (id),
  name TEXT NOT NULL,
  name_key TEXT NOT NULL, -- lower case, made by the service
  description TEXT,
  external_ref TEXT,
  search TEXT NOT NULL, -- lower case: name, description, reference, company
  revision INTEGER NOT NULL,
  archived_at TEXT,
  deleted_at TEXT,
  purge_after TEXT,
  company_name TEXT,
  period_start TEXT,
  period_end TEXT,
  scheme TEXT,
  notification_required BOOLEAN,
  notification_due TEXT,
  template_id BLOB NOT NULL REFERENCES templates (id),
  project_count INTEGER NOT NULL, -- projects that are not deleted
  expenditure_pence INTEGER NOT NULL, -- of projects that are not deleted
  event_sequence INTEGER NOT NULL,
  created_by BLOB,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX batches_live_name ON batches (workspace_id, name_key) WHERE archived_at IS NULL AND deleted_at IS NULL;
CREATE INDEX batches_by_creation ON batches (workspace_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX batches_to_purge ON batches (purge_after) WHERE purge_after IS NOT NULL;

-- Imports, before the projects that refer to them.
CREATE TABLE imports (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  batch_id BLOB NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  status TEXT NOT NULL,
  dry_run BOOLEAN NOT NULL,
  file_name TEXT,
  source_key TEXT NOT NULL, -- object with what was sent
  source_kind TEXT NOT NULL, -- file or rows
  options TEXT NOT NULL,
  error_policy TEXT NOT NULL,
  on_duplicate TEXT NOT NULL,
  detected TEXT,
  columns TEXT NOT NULL,
  preview TEXT NOT NULL,
  row_count INTEGER NOT NULL,
  processed_count INTEGER NOT NULL, -- checkpoint: rows that are settled
  accepted_count INTEGER NOT NULL,
  rejected_count INTEGER NOT NULL,
  rejected_key TEXT, -- object with the refused rows
  sequence INTEGER NOT NULL,
  failure_code TEXT,
  failure_message TEXT,
  created_by BLOB,
  created_at TEXT NOT NULL,
  started_at TEXT,
  finished_at TEXT
);
CREATE INDEX imports_by_batch ON imports (batch_id, created_at, id);
CREATE INDEX imports_active ON imports (batch_id) WHERE finished_at IS NULL;

CREATE TABLE import_issues (
  import_id BLOB NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  workspace_id BLOB NOT NULL,
  code TEXT NOT NULL,
  severity TEXT NOT NULL,
  row_number INTEGER,
  sheet_row INTEGER,
  column_name TEXT,
  message TEXT NOT NULL,
  value TEXT,
  PRIMARY KEY (import_id, number)
);

-- Projects: narrow; facts and reports stand beside.
CREATE TABLE projects (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  batch_id BLOB NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  external_ref TEXT,
  ref_key TEXT NOT NULL, -- sorts numbers in natural order
  name TEXT NOT NULL,
  name_key TEXT NOT NULL,
  revision INTEGER NOT NULL,
  status TEXT NOT NULL,
  status_rank INTEGER NOT NULL, -- order of work
  deleted_at TEXT,
  sector_key TEXT,
  claim_ref TEXT,
  start_date TEXT,
  staff INTEGER NOT NULL,
  externally_provided_workers INTEGER NOT NULL,
  contracted_out INTEGER NOT NULL,
  consumables INTEGER NOT NULL,
  software INTEGER NOT NULL,
  cloud_computing INTEGER NOT NULL,
  data_licences INTEGER NOT NULL,
  clinical_trial_volunteers INTEGER NOT NULL,
  qualifying_indirect_activities INTEGER NOT NULL,
  expenditure_pence INTEGER NOT NULL,
  template_version_id BLOB NOT NULL REFERENCES template_versions (id),
  aif_pinned BOOLEAN NOT NULL,
  score INTEGER,
  error_count INTEGER NOT NULL,
  warning_count INTEGER NOT NULL,
  approved_by BLOB,
  approved_at TEXT,
  import_id BLOB,
  import_row INTEGER,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);
CREATE UNIQUE INDEX projects_live_ref ON projects (batch_id, external_ref) WHERE external_ref IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX projects_by_creation ON projects (batch_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX projects_by_status ON projects (batch_id, status, score, error_count) WHERE deleted_at IS NULL;
CREATE INDEX projects_of_workspace ON projects (workspace_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX projects_of_import ON projects (import_id) WHERE import_id IS NOT NULL;
CREATE INDEX projects_of_version ON projects (template_version_id);

CREATE TABLE project_facts (
  project_id BLOB PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  workspace_id BLOB NOT NULL,
  facts TEXT NOT NULL,
  search TEXT NOT NULL -- lower case: name, reference, texts
);

CREATE TABLE project_reports (
  project_id BLOB PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  workspace_id BLOB NOT NULL,
  report TEXT NOT NULL,
  checked_at TEXT NOT NULL
);

-- Sections stay narrow and are read from the index alone; texts live in section_revisions.
CREATE TABLE sections (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  project_id BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  title TEXT NOT NULL,
  position INTEGER NOT NULL, -- -1: not in the present template, kept for its TEXT
  required BOOLEAN NOT NULL,
  state TEXT NOT NULL,
  source TEXT, -- of the newest TEXT
  revision INTEGER NOT NULL,
  word_count INTEGER NOT NULL,
  char_count INTEGER NOT NULL,
  min_words INTEGER NOT NULL,
  max_words INTEGER NOT NULL,
  max_chars INTEGER NOT NULL
);
CREATE UNIQUE INDEX sections_key ON sections (project_id, key);
CREATE INDEX sections_cover ON sections (project_id, position, id, workspace_id, key, title, required, state, source, revision, word_count, char_count, min_words, max_words, max_chars);

CREATE TABLE section_revisions (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  section_id BLOB NOT NULL REFERENCES sections (id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  text TEXT NOT NULL,
  source TEXT NOT NULL,
  author_id BLOB,
  attempt_id BLOB,
  note TEXT,
  created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX section_revisions_number ON section_revisions (section_id, number);

-- Runs of generation.
CREATE TABLE runs (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  batch_id BLOB NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  status TEXT NOT NULL,
  scope TEXT NOT NULL,
  template_version_id BLOB NOT NULL REFERENCES template_versions (id),
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  edited_sections TEXT NOT NULL,
  instructions TEXT,
  total INTEGER NOT NULL,
  queued INTEGER NOT NULL,
  running INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  skipped INTEGER NOT NULL,
  sections_total INTEGER NOT NULL,
  sections_done INTEGER NOT NULL,
  spend_micros INTEGER NOT NULL,
  progressed_at TEXT, -- when RunProgressed was last appended
  failure_code TEXT,
  failure_message TEXT,
  created_by BLOB,
  created_at TEXT NOT NULL,
  started_at TEXT,
  finished_at TEXT
);
CREATE UNIQUE INDEX runs_one_active ON runs (batch_id) WHERE finished_at IS NULL;
CREATE INDEX runs_by_batch ON runs (batch_id, created_at, id);

CREATE TABLE run_projects (
  run_id BLOB NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  project_id BLOB NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  workspace_id BLOB NOT NULL,
  state TEXT NOT NULL, -- QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED, SKIPPED
  sections_left INTEGER NOT NULL,
  sections_failed INTEGER NOT NULL,
  PRIMARY KEY (run_id, project_id)
);
CREATE INDEX run_projects_of_project ON run_projects (project_id);

CREATE TABLE attempts (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  run_id BLOB NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
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
  finished_at TEXT
);
CREATE UNIQUE INDEX attempts_number ON attempts (run_id, section_id, number);
CREATE INDEX attempts_of_project ON attempts (project_id, started_at, id);
CREATE INDEX attempts_of_run ON attempts (run_id, started_at, id);

-- Progress: the table is the truth, the bus is a hint.
CREATE TABLE batch_events (
  batch_id BLOB NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  workspace_id BLOB NOT NULL,
  payload TEXT NOT NULL,
  occurred_at TEXT NOT NULL,
  PRIMARY KEY (batch_id, sequence)
);
CREATE INDEX batch_events_age ON batch_events (occurred_at);

CREATE TABLE exports (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  batch_id BLOB NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  status TEXT NOT NULL,
  format TEXT NOT NULL,
  options TEXT NOT NULL, -- which projects
  project_count INTEGER NOT NULL,
  processed_count INTEGER NOT NULL,
  skipped TEXT NOT NULL,
  file_name TEXT,
  object_key TEXT,
  bytes INTEGER,
  sha256 TEXT,
  expires_at TEXT,
  sequence INTEGER NOT NULL,
  failure_code TEXT,
  failure_message TEXT,
  created_by BLOB,
  created_at TEXT NOT NULL,
  started_at TEXT,
  finished_at TEXT
);
CREATE INDEX exports_by_batch ON exports (batch_id, created_at, id);

CREATE TABLE idempotency_keys (
  workspace_id BLOB NOT NULL,
  mutation TEXT NOT NULL,
  key TEXT NOT NULL,
  input_hash TEXT NOT NULL,
  object_id BLOB NOT NULL,
  created_at TEXT NOT NULL,
  PRIMARY KEY (workspace_id, mutation, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- What people did that has to be accounted for: approvals and their reasons.
CREATE TABLE audit_entries (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  user_id BLOB,
  action TEXT NOT NULL,
  object_id BLOB NOT NULL,
  note TEXT,
  created_at TEXT NOT NULL
);
CREATE INDEX audit_entries_of_object ON audit_entries (object_id, created_at);

-- The durable queue (times in milliseconds since 1970).
CREATE TABLE job_queue (
  id BLOB PRIMARY KEY NOT NULL,
  lane TEXT NOT NULL,
  kind TEXT NOT NULL,
  workspace_id BLOB NOT NULL,
  run_id BLOB,
  payload TEXT NOT NULL,
  state INTEGER NOT NULL, -- 0 ready, 1 delayed, 2 running, 3 dead
  turn INTEGER NOT NULL,
  due_ms INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  claimed_by BLOB,
  failure TEXT
);
CREATE INDEX job_queue_ready ON job_queue (lane, turn, id) WHERE state = 0;
CREATE INDEX job_queue_due ON job_queue (due_ms) WHERE state = 1;
CREATE INDEX job_queue_running ON job_queue (lane, turn) WHERE state = 2;
CREATE INDEX job_queue_run ON job_queue (run_id);

CREATE TABLE job_workers (
  id BLOB PRIMARY KEY NOT NULL,
  seen_ms INTEGER NOT NULL
);

CREATE TABLE job_schedules (
  name TEXT PRIMARY KEY NOT NULL,
  next_ms INTEGER NOT NULL
);
