-- Which workspace the newest id token of a person named, for access tokens, which name none. Twin of
-- migrations/sqlite/0005_person_workspaces.sql.

CREATE TABLE person_workspaces (
  issuer text NOT NULL,
  subject text NOT NULL,
  workspace_id uuid NOT NULL REFERENCES workspaces (id),
  token_expires_at timestamptz NOT NULL,
  PRIMARY KEY (issuer, subject)
);
ALTER TABLE person_workspaces ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_workspace ON person_workspaces USING (workspace_id = (SELECT session_workspace()) OR (SELECT session_is_for_all()));
