//! The set that reads are measured on: 200 workspaces, 5,000 batches, 100,000 projects, 500,000 sections. Made once, by SQL, as
//! the owner of the tables; people, workspaces and templates of those that are asked for come from the product itself.

use crate::Outcome;
use crate::client::{Client, post};
use crate::postgres::Postgres;
use crate::processes::Product;
use claimwright::identity::LocalIssuer;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

/// Grows with every change of what is seeded, so that a folder of before is filled anew.
const VERSION: i32 = 1;
/// The workspace that is read.
pub const READ: &str = "bench-read";
/// The workspace that is written to, so that dead rows of one measurement are not met by another.
pub const WRITTEN: &str = "bench-written";

/// Five texts of about 4,000 characters for each project that is read, of random words so that they compress as prose does;
/// everybody else has one of a thousand short ones.
const FILL: &str = "
SET synchronous_commit = off;
SELECT setseed(0.5);
CREATE TEMP TABLE w AS
  SELECT n, CASE n WHEN 0 THEN CAST(current_setting('bench.read') AS uuid) WHEN 1 THEN CAST(current_setting('bench.written') AS uuid)
    ELSE CAST('0190aaaa-0001-7000-8000-' || lpad(to_hex(n), 12, '0') AS uuid) END AS id
  FROM generate_series(0, 199) AS n;
INSERT INTO workspaces (id, name, created_at) SELECT id, 'Practice ' || n, '2026-01-01' FROM w ON CONFLICT DO NOTHING;
CREATE TEMP TABLE t AS
  SELECT w.n, w.id AS workspace, coalesce(o.id, CAST('0190aaaa-0002-7000-8000-' || lpad(to_hex(w.n), 12, '0') AS uuid)) AS id,
    coalesce(o.current_version_id, CAST('0190aaaa-0003-7000-8000-' || lpad(to_hex(w.n), 12, '0') AS uuid)) AS version
  FROM w LEFT JOIN templates o ON o.workspace_id = w.id AND o.key = current_setting('bench.template');
INSERT INTO templates (id, workspace_id, key, name, description, search, built_in, current_version_id, current_number, created_at, updated_at)
  SELECT t.id, t.workspace, o.key, o.name, o.description, o.search, true, t.version, 1, o.created_at, o.updated_at
  FROM t, templates o WHERE t.n > 1 AND o.id = (SELECT id FROM t WHERE n = 0);
INSERT INTO template_versions (id, workspace_id, template_id, number, sections, instructions, created_at)
  SELECT t.version, t.workspace, t.id, 1, o.sections, o.instructions, o.created_at
  FROM t, template_versions o WHERE t.n > 1 AND o.id = (SELECT version FROM t WHERE n = 0);

CREATE TEMP TABLE b AS
  SELECT n, n % 200 AS w, CAST('0190aaaa-0004-7000-8000-' || lpad(to_hex(n), 12, '0') AS uuid) AS id FROM generate_series(0, 4999) AS n;
INSERT INTO batches (id, workspace_id, name, name_key, external_ref, search, revision, company_name, period_start, period_end, scheme, template_id,
    project_count, expenditure_pence, event_sequence, created_at, updated_at)
  SELECT b.id, t.workspace, 'Claim of company ' || b.n, 'claim of company ' || b.n, 'C-' || b.n, 'claim of company ' || b.n || E'\\nc-' || b.n, 1,
    'Company ' || b.n || ' Ltd', '2025-04-01', '2026-03-31', 'MERGED_RDEC', t.id, 20, 20 * 1234500, 0,
    CAST('2026-01-01' AS timestamptz) + b.n * interval '1 minute', CAST('2026-01-01' AS timestamptz) + b.n * interval '1 minute'
  FROM b JOIN t ON t.n = b.w;

CREATE TEMP TABLE p AS
  SELECT p.n, b.n AS batch, b.w, b.id AS batch_id, CAST('0190aaaa-0005-7000-8000-' || lpad(to_hex(p.n), 12, '0') AS uuid) AS id
  FROM generate_series(0, 99999) AS p(n) JOIN b ON b.n = p.n / 20;
INSERT INTO projects (id, workspace_id, batch_id, external_ref, ref_key, name, name_key, revision, status, status_rank, start_date, staff,
    externally_provided_workers, contracted_out, consumables, software, cloud_computing, data_licences, clinical_trial_volunteers,
    qualifying_indirect_activities, expenditure_pence, template_version_id, aif_pinned, score, error_count, warning_count, created_at, updated_at)
  SELECT p.id, t.workspace, p.batch_id, 'P-' || p.n, 'P-' || lpad(CAST(p.n AS text), 8, '0'), 'Project number ' || p.n || ' of the claim',
    'project number ' || p.n || ' of the claim', 6, 'NEEDS_REVIEW', 3, '2025-05-01', 1000000, 0, 0, 234500, 0, 0, 0, 0, 0, 1234500, t.version,
    false, 80 + p.n % 20, 0, p.n % 3, CAST('2026-02-01' AS timestamptz) + p.n * interval '1 second',
    CAST('2026-02-01' AS timestamptz) + p.n * interval '1 second'
  FROM p JOIN t ON t.n = p.w ORDER BY p.n;
INSERT INTO project_facts (project_id, workspace_id, facts, search)
  SELECT p.id, t.workspace, jsonb_build_object('sector', 'Ceramics', 'field_of_science', 'Materials science', 'baseline', repeat('What was known. ', 20)),
    'project number ' || p.n || ' of the claim' FROM p JOIN t ON t.n = p.w ORDER BY p.n;

CREATE TEMP TABLE words AS SELECT regexp_split_to_array('the of and to in was that it for with as on by were at from which not this be an or but had have been are is
  their its would could uncertain whether furnace glaze kiln temperature alloy viscosity cooling gradient sample measured method existing
  published literature known competent professional system algorithm latency throughput model parameter tolerance fracture thermal expansion
  coefficient deposition substrate layer adhesion prototype iteration failed repeated result indicated analysis simulation boundary condition
  material composition oxide silicon polymer membrane diffusion pressure catalyst reaction yield purity concentration sensor calibration drift
  signal noise interference protocol synchronisation consistency replication partition recovery because however therefore despite although
  until before after between without within several further initial final third second quarter team tested developed compared', '\\s+') AS list;
CREATE TEMP TABLE long AS
  SELECT n, (SELECT substr(string_agg(list[1 + CAST(floor(random() * array_length(list, 1)) AS int)], ' '), 1, 3900 + n % 200)
    FROM words, generate_series(1, 750 + n * 0)) AS text FROM generate_series(0, 2499) AS n;
CREATE TEMP TABLE short AS
  SELECT n, (SELECT string_agg(list[1 + CAST(floor(random() * array_length(list, 1)) AS int)], ' ') FROM words, generate_series(1, 40 + n * 0)) AS text
  FROM generate_series(0, 999) AS n;
CREATE INDEX ON long (n);
CREATE INDEX ON short (n);
ANALYZE long; ANALYZE short; ANALYZE p; ANALYZE t;
CREATE TEMP TABLE s AS
  SELECT p.n * 5 + k AS n, k, p.id AS project_id, t.workspace, coalesce(long.text, short.text) AS text,
    CAST('0190aaaa-0006-7000-8000-' || lpad(to_hex(p.n * 5 + k), 12, '0') AS uuid) AS id
  FROM p JOIN t ON t.n = p.w CROSS JOIN generate_series(0, 4) AS k
    LEFT JOIN long ON p.w = 0 AND long.n = (p.batch / 200 * 20 + p.n % 20) * 5 + k
    JOIN short ON short.n = (p.n * 5 + k) % 1000;
INSERT INTO sections (id, workspace_id, project_id, key, title, position, required, state, source, revision, word_count, char_count, min_words, max_words, max_chars)
  SELECT id, workspace, project_id, (ARRAY['field_of_science', 'baseline', 'advance', 'uncertainties', 'work'])[k + 1],
    (ARRAY['Field of science or technology', 'Baseline', 'Advance sought', 'Uncertainties', 'Work undertaken'])[k + 1],
    k, true, 'GENERATED', 'MODEL', 1, length(text) - length(replace(text, ' ', '')) + 1, length(text), 40, 800, 5000
  FROM s ORDER BY n;
INSERT INTO section_revisions (id, workspace_id, section_id, number, text, source, created_at)
  SELECT CAST('0190aaaa-0007-7000-8000-' || lpad(to_hex(n), 12, '0') AS uuid), workspace, id, 1, text, 'MODEL', '2026-02-02' FROM s ORDER BY n;
";

/// The id of the local issuer's workspace of this name.
pub fn workspace(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::new_v5(&Uuid::NAMESPACE_URL, LocalIssuer::ISSUER.as_bytes()), name.as_bytes())
}

/// Fills the database unless it is filled, and takes back what earlier measurements left.
pub async fn fill(postgres: &Postgres, product: &Product) -> Outcome<()> {
    let is_filled = async {
        let mut connection = PgConnection::connect(&postgres.url()).await?;
        sqlx::query_scalar::<_, bool>("SELECT version = $1 FROM bench_seed").bind(VERSION).fetch_one(&mut connection).await
    };
    if !is_filled.await.unwrap_or(false) {
        postgres.recreate().await?;
        // migrates, and makes the two workspaces that are measured with their people and templates
        let server = product.start("api", &[("DATABASE_URL", &postgres.url())]).await?;
        let mut client = Client::connect(server.address).await?;
        for name in [READ, WRITTEN] {
            let answer = client.ask(&post(&product.token(name)?, &json!({ "query": "{ viewer { user { id } } }" }))).await?;
            assert!(answer.starts_with(b"{\"data\":{\"viewer\":{\"user\""), "{}", String::from_utf8_lossy(&answer));
        }
        drop(server);
        let mut connection = PgConnection::connect(&postgres.url()).await?;
        for (name, value) in [("read", workspace(READ).to_string()), ("written", workspace(WRITTEN).to_string())]
            .into_iter()
            .chain([("template", claimwright::domain::templates::DEFAULT_TEMPLATE_KEY.to_owned())])
        {
            sqlx::query("SELECT set_config('bench.' || $1, $2, false)").bind(name).bind(value).execute(&mut connection).await?;
        }
        connection.execute(FILL).await?;
        connection.execute("CREATE TABLE bench_seed (version int)").await?;
        sqlx::query("INSERT INTO bench_seed VALUES ($1)").bind(VERSION).execute(&mut connection).await?;
    }
    let mut connection = PgConnection::connect(&postgres.url()).await?;
    connection.execute("TRUNCATE batch_events").await?;
    for statement in ["VACUUM (ANALYZE)", "CHECKPOINT"] {
        connection.execute(statement).await?;
    }
    Ok(())
}
