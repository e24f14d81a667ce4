-- Files that are sent beside a request. Twin of migrations/sqlite/0003_uploads.sql.
CREATE TABLE uploads (
  id uuid PRIMARY KEY NOT NULL,
  workspace_id uuid NOT NULL,
  file_name text NOT NULL,
  content_type text NOT NULL,
  bytes bigint NOT NULL, -- as announced
  sha256 text, -- as announced, lower-case hex
  object_key text, -- null once the object is removed
  created_by uuid,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX uploads_expiry ON uploads (expires_at);

ALTER TABLE uploads ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_workspace ON uploads USING (workspace_id = (SELECT session_workspace()) OR (SELECT session_is_for_all()));
