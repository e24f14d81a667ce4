-- The first tables. Twin of migrations/sqlite/0001_first_tables.sql: change both, see migrations/README.md.

-- The tenant and its people.
CREATE TABLE workspaces (
  id uuid PRIMARY KEY NOT NULL,
  name text NOT NULL,
  created_at timestamptz NOT NULL
);

CREATE TABLE users (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL REFERENCES workspaces (id),
  issuer text NOT NULL,
  subject text NOT NULL,
  email text,
  display_name text NOT NULL,
  created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX users_subject ON users (workspace_id, issuer, subject);

-- Templates: versions never change.
CREATE TABLE templates (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL REFERENCES workspaces (id),
  key text NOT NULL,
  name text NOT NULL,
  description text,
  search text NOT NULL,
  built_in boolean NOT NULL,
  archived_at timestamptz,
  current_version_id uuid NOT NULL,
  current_number int NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX templates_key ON templates (workspace_id, key);

CREATE TABLE template_versions (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  template_id uuid NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
  number int NOT NULL,
  sections jsonb NOT NULL,
  instructions text,
  note text,
  created_by uuid,
  created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX template_versions_number ON template_versions (template_id, number);

-- A batch: its row is the lock under which event sequences are given.
CREATE TABLE batches (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL REFERENCES workspaces (id),
  name text NOT NULL,
  name_key text COLLATE "C" NOT NULL, -- lower case, made by the service
  description text,
  external_ref text,
  search text NOT NULL, -- lower case: name, description, reference, company
  revision int NOT NULL,
  archived_at timestamptz,
  deleted_at timestamptz,
  purge_after timestamptz,
  company_name text,
  period_start date,
  period_end date,
  scheme text,
  notification_required boolean,
  notification_due date,
  template_id uuid NOT NULL REFERENCES templates (id),
  project_count int NOT NULL, -- projects that are not deleted
  expenditure_pence bigint NOT NULL, -- of projects that are not deleted
  event_sequence bigint NOT NULL,
  created_by uuid,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX batches_live_name ON batches (workspace_id, name_key) WHERE archived_at IS NULL AND deleted_at IS NULL;
CREATE INDEX batches_by_creation ON batches (workspace_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX batches_to_purge ON batches (purge_after) WHERE purge_after IS NOT NULL;

-- Imports, before the projects that refer to them.
CREATE TABLE imports (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  status text NOT NULL,
  dry_run boolean NOT NULL,
  file_name text,
  source_key text NOT NULL, -- object with what was sent
  source_kind text NOT NULL, -- file or rows
  options jsonb NOT NULL,
  error_policy text NOT NULL,
  on_duplicate text NOT NULL,
  detected jsonb,
  columns jsonb NOT NULL,
  preview jsonb NOT NULL,
  row_count int NOT NULL,
  processed_count int NOT NULL, -- checkpoint: rows that are settled
  accepted_count int NOT NULL,
  rejected_count int NOT NULL,
  rejected_key text, -- object with the refused rows
  sequence bigint NOT NULL,
  failure_code text,
  failure_message text,
  created_by uuid,
  created_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz
);
CREATE INDEX imports_by_batch ON imports (batch_id, created_at, id);
CREATE INDEX imports_active ON imports (batch_id) WHERE finished_at IS NULL;

CREATE TABLE import_issues (
  import_id uuid NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
  number int NOT NULL,
  workspace_id uuid NOT NULL,
  code text NOT NULL,
  severity text NOT NULL,
  row_number int,
  sheet_row int,
  column_name text,
  message text NOT NULL,
  value text,
  PRIMARY KEY (import_id, number)
);

-- Projects: narrow; facts and reports stand beside.
CREATE TABLE projects (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  external_ref text,
  ref_key text COLLATE "C" NOT NULL, -- sorts numbers in natural order
  name text NOT NULL,
  name_key text COLLATE "C" NOT NULL,
  revision int NOT NULL,
  status text NOT NULL,
  status_rank int NOT NULL, -- order of work
  deleted_at timestamptz,
  sector_key text,
  claim_ref text,
  start_date date,
  staff bigint NOT NULL,
  externally_provided_workers bigint NOT NULL,
  contracted_out bigint NOT NULL,
  consumables bigint NOT NULL,
  software bigint NOT NULL,
  cloud_computing bigint NOT NULL,
  data_licences bigint NOT NULL,
  clinical_trial_volunteers bigint NOT NULL,
  qualifying_indirect_activities bigint NOT NULL,
  expenditure_pence bigint NOT NULL,
  template_version_id uuid NOT NULL REFERENCES template_versions (id),
  aif_pinned boolean NOT NULL,
  score int,
  error_count int NOT NULL,
  warning_count int NOT NULL,
  approved_by uuid,
  approved_at timestamptz,
  import_id uuid,
  import_row int,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX projects_live_ref ON projects (batch_id, external_ref) WHERE external_ref IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX projects_by_creation ON projects (batch_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX projects_by_status ON projects (batch_id, status, score, error_count) WHERE deleted_at IS NULL;
CREATE INDEX projects_of_workspace ON projects (workspace_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX projects_of_import ON projects (import_id) WHERE import_id IS NOT NULL;
CREATE INDEX projects_of_version ON projects (template_version_id);

CREATE TABLE project_facts (
  project_id uuid PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  workspace_id uuid NOT NULL,
  facts jsonb NOT NULL,
  search text NOT NULL -- lower case: name, reference, texts
);

CREATE TABLE project_reports (
  project_id uuid PRIMARY KEY NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  workspace_id uuid NOT NULL,
  report jsonb NOT NULL,
  checked_at timestamptz NOT NULL
);

-- Sections stay narrow and are read from the index alone; texts live in section_revisions.
CREATE TABLE sections (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  project_id uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  key text NOT NULL,
  title text NOT NULL,
  position int NOT NULL, -- -1: not in the present template, kept for its text
  required boolean NOT NULL,
  state text NOT NULL,
  source text, -- of the newest text
  revision int NOT NULL,
  word_count int NOT NULL,
  char_count int NOT NULL,
  min_words int NOT NULL,
  max_words int NOT NULL,
  max_chars int NOT NULL
);
CREATE UNIQUE INDEX sections_key ON sections (project_id, key);
CREATE INDEX sections_cover ON sections (project_id, position) INCLUDE (id, workspace_id, key, title, required, state, source, revision, word_count, char_count, min_words, max_words, max_chars);

CREATE TABLE section_revisions (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  section_id uuid NOT NULL REFERENCES sections (id) ON DELETE CASCADE,
  number int NOT NULL,
  text text NOT NULL,
  source text NOT NULL,
  author_id uuid,
  attempt_id uuid,
  note text,
  created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX section_revisions_number ON section_revisions (section_id, number);

-- Runs of generation.
CREATE TABLE runs (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  status text NOT NULL,
  scope text NOT NULL,
  template_version_id uuid NOT NULL REFERENCES template_versions (id),
  provider text NOT NULL,
  model text NOT NULL,
  edited_sections text NOT NULL,
  instructions text,
  total int NOT NULL,
  queued int NOT NULL,
  running int NOT NULL,
  succeeded int NOT NULL,
  failed int NOT NULL,
  cancelled int NOT NULL,
  skipped int NOT NULL,
  sections_total int NOT NULL,
  sections_done int NOT NULL,
  spend_micros bigint NOT NULL,
  progressed_at timestamptz, -- when RunProgressed was last appended
  failure_code text,
  failure_message text,
  created_by uuid,
  created_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz
);
CREATE UNIQUE INDEX runs_one_active ON runs (batch_id) WHERE finished_at IS NULL;
CREATE INDEX runs_by_batch ON runs (batch_id, created_at, id);

CREATE TABLE run_projects (
  run_id uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  project_id uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  workspace_id uuid NOT NULL,
  state text NOT NULL, -- QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED, SKIPPED
  sections_left int NOT NULL,
  sections_failed int NOT NULL,
  PRIMARY KEY (run_id, project_id)
);
CREATE INDEX run_projects_of_project ON run_projects (project_id);

CREATE TABLE attempts (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  run_id uuid NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  project_id uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  section_id uuid NOT NULL,
  section_key text NOT NULL,
  number int NOT NULL,
  status text NOT NULL,
  provider text NOT NULL,
  model text NOT NULL,
  template_version_id uuid NOT NULL,
  prompt_hash text NOT NULL,
  input_tokens int,
  output_tokens int,
  spend_micros bigint,
  failure_code text,
  failure_message text,
  started_at timestamptz NOT NULL,
  finished_at timestamptz
);
CREATE UNIQUE INDEX attempts_number ON attempts (run_id, section_id, number);
CREATE INDEX attempts_of_project ON attempts (project_id, started_at, id);
CREATE INDEX attempts_of_run ON attempts (run_id, started_at, id);

-- Progress: the table is the truth, the bus is a hint.
CREATE TABLE batch_events (
  batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  sequence bigint NOT NULL,
  workspace_id uuid NOT NULL,
  payload jsonb NOT NULL,
  occurred_at timestamptz NOT NULL,
  PRIMARY KEY (batch_id, sequence)
);
CREATE INDEX batch_events_age ON batch_events (occurred_at);

CREATE TABLE exports (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
  status text NOT NULL,
  format text NOT NULL,
  options jsonb NOT NULL, -- which projects
  project_count int NOT NULL,
  processed_count int NOT NULL,
  skipped jsonb NOT NULL,
  file_name text,
  object_key text,
  bytes bigint,
  sha256 text,
  expires_at timestamptz,
  sequence bigint NOT NULL,
  failure_code text,
  failure_message text,
  created_by uuid,
  created_at timestamptz NOT NULL,
  started_at timestamptz,
  finished_at timestamptz
);
CREATE INDEX exports_by_batch ON exports (batch_id, created_at, id);

CREATE TABLE idempotency_keys (
  workspace_id uuid NOT NULL,
  mutation text NOT NULL,
  key text NOT NULL,
  input_hash text NOT NULL,
  object_id uuid NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (workspace_id, mutation, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- What people did that has to be accounted for: approvals and their reasons.
CREATE TABLE audit_entries (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  user_id uuid,
  action text NOT NULL,
  object_id uuid NOT NULL,
  note text,
  created_at timestamptz NOT NULL
);
CREATE INDEX audit_entries_of_object ON audit_entries (object_id, created_at);

-- The durable queue (times in milliseconds since 1970).
CREATE TABLE job_queue (
  id uuid PRIMARY KEY NOT NULL,
  lane text NOT NULL,
  kind text NOT NULL,
  workspace_id uuid NOT NULL,
  run_id uuid,
  payload jsonb NOT NULL,
  state int NOT NULL, -- 0 ready, 1 delayed, 2 running, 3 dead
  turn bigint NOT NULL,
  due_ms bigint NOT NULL,
  created_ms bigint NOT NULL,
  attempt int NOT NULL,
  claimed_by uuid,
  failure text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_queue_ready ON job_queue (lane, turn, id) WHERE state = 0;
CREATE INDEX job_queue_due ON job_queue (due_ms) WHERE state = 1;
CREATE INDEX job_queue_running ON job_queue (lane, turn) WHERE state = 2;
CREATE INDEX job_queue_run ON job_queue (run_id);

CREATE TABLE job_workers (
  id uuid PRIMARY KEY NOT NULL,
  seen_ms bigint NOT NULL
);

CREATE TABLE job_schedules (
  name text PRIMARY KEY NOT NULL,
  next_ms bigint NOT NULL
);
