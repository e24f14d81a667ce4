-- What a run may cost, and what became of it. Twin of migrations/postgres/0006_budgets.sql.
-- Amounts are millionths of a US dollar. A failure says itself whether trying again can help: a code alone does not tell
-- (a provider may be out of credit); null in rows of before, which are judged by their code.
ALTER TABLE runs ADD COLUMN cap_micros INTEGER; -- null: no cap
ALTER TABLE runs ADD COLUMN reserved_micros INTEGER NOT NULL DEFAULT 0; -- what the calls in flight may still cost
ALTER TABLE runs ADD COLUMN estimate TEXT; -- when it was started; null in rows of before
ALTER TABLE runs ADD COLUMN failure_retryable BOOLEAN;
ALTER TABLE attempts ADD COLUMN failure_retryable BOOLEAN;
ALTER TABLE attempts ADD COLUMN reserved_micros INTEGER; -- while it is in work
