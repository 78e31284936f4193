-- The packs that ingest makes are a cache too: within the budget of all packs, the least recently used gone first. Segments of before
-- count as empty, and so stay.
alter table segments add column pack_bytes bigint not null default 0;
alter table segments add column pack_used_at bigint not null default 0;
-- its pack was deleted to make room; who needs it makes another of the images
alter table segments add column pack_gone integer not null default 0;
