-- Row-level security. Twin of migrations/sqlite/0002_row_level_security.sql, which has nothing to do: SQLite has none.
--
-- Every statement of the service filters by workspace; this is the second lock, for one that forgets to. A session says
-- whose rows it is for by `SET claimwright.workspace`: the id of a workspace, or * for the queue and for upkeep. One that
-- says nothing sees nothing. The owner of the tables is bound too (FORCE); a superuser is not, so the service steps down
-- to the role claimwright_service where it is given one.

CREATE FUNCTION session_workspace() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CAST(nullif(nullif(current_setting('claimwright.workspace', true), ''), '*') AS uuid)
$$;

CREATE FUNCTION session_is_for_all() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT current_setting('claimwright.workspace', true) IS NOT DISTINCT FROM '*'
$$;

-- The subqueries are run once for a statement, not once for a row.
DO $$
DECLARE
  tenant text;
BEGIN
  FOREACH tenant IN ARRAY ARRAY[
    'users', 'templates', 'template_versions', 'batches', 'imports', 'import_issues', 'projects', 'project_facts',
    'project_reports', 'sections', 'section_revisions', 'runs', 'run_projects', 'attempts', 'batch_events', 'exports',
    'idempotency_keys', 'audit_entries'
  ] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', tenant);
    EXECUTE format('CREATE POLICY of_workspace ON %I USING (workspace_id = (SELECT session_workspace()) OR (SELECT session_is_for_all()))', tenant);
  END LOOP;
END
$$;

ALTER TABLE workspaces ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY of_workspace ON workspaces USING (id = (SELECT session_workspace()) OR (SELECT session_is_for_all()));
