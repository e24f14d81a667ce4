-- Files that are sent beside a request. Twin of migrations/postgres/0003_uploads.sql.
CREATE TABLE uploads (
  id BLOB PRIMARY KEY NOT NULL,
  workspace_id BLOB NOT NULL,
  file_name TEXT NOT NULL,
  content_type TEXT NOT NULL,
  bytes INTEGER NOT NULL, -- as announced
  sha256 TEXT, -- as announced, lower-case hex
  object_key TEXT, -- null once the object is removed
  created_by BLOB,
  created_at TEXT NOT NULL,
  expires_at TEXT NOT NULL
);
CREATE INDEX uploads_expiry ON uploads (expires_at);
