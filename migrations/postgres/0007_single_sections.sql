-- Sections that are written anew alone, without a run. Twin of migrations/sqlite/0007_single_sections.sql.
--
-- The attempts of one such rewriting belong together by `rewrite_id`, the id of the first of them.
ALTER TABLE attempts ALTER COLUMN run_id DROP NOT NULL;
ALTER TABLE attempts ADD COLUMN rewrite_id uuid;
CREATE UNIQUE INDEX attempts_number_alone ON attempts (rewrite_id, number) WHERE rewrite_id IS NOT NULL;
CREATE INDEX attempts_of_section ON attempts (section_id, started_at);
