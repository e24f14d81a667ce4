-- Row-level security. Twin of migrations/postgres/0002_row_level_security.sql: SQLite has none and one process alone uses
-- it, so there is nothing to do here.
SELECT 1;
