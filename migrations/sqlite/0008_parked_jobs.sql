-- Jobs that wait for room under the cap of their run. Twin of migrations/postgres/0008_parked_jobs.sql.
CREATE INDEX job_queue_parked ON job_queue (run_id, turn, id) WHERE state = 4;
