-- How the caller wants an archive to be read, as JSON; null: as the server understands it by itself. `pending_options` are those of a reading
-- that has not ended yet: a dataset that was read before goes back to what it was if that reading fails.
alter table datasets add column options text;
alter table datasets add column pending_options text;
alter table uploads add column options text;
