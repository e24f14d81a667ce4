-- Budgets of runs. Twin of migrations/sqlite/0006_budgets.sql.
ALTER TABLE runs ADD COLUMN cap_micros BIGINT;
ALTER TABLE runs ADD COLUMN reserved_micros BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN allow_pause BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE runs ADD COLUMN estimate JSONB;
ALTER TABLE runs ADD COLUMN failure_retryable BOOLEAN;
ALTER TABLE attempts ADD COLUMN failure_retryable BOOLEAN;
ALTER TABLE attempts ADD COLUMN reserved_micros BIGINT;
