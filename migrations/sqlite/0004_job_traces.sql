-- The trace that a job belongs to. Twin of migrations/postgres/0004_job_traces.sql.
-- `traceparent` of W3C Trace Context, so that what a request queues is found in its trace; null if it was not traced, and in
-- jobs that an older version queues while both run.
ALTER TABLE job_queue ADD COLUMN trace TEXT;
