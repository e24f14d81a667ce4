-- Which workspace the newest id token of a person named, for access tokens, which name none. Twin of
-- migrations/postgres/0005_person_workspaces.sql.

CREATE TABLE person_workspaces (
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  workspace_id BLOB NOT NULL REFERENCES workspaces (id),
  token_expires_at TEXT NOT NULL,
  PRIMARY KEY (issuer, subject)
);
