-- When each owner last had a turn: claims are numbered, and this is the number of the owner's last one. It stays when the jobs go, so that
-- nobody gets ahead by deleting them. The owner '' are all jobs without one.
create table queue_turns (
    owner text primary key,
    turn bigint not null
);

-- All that decides the order of the queue stands in it.
drop index jobs_queue;
create index jobs_queue on jobs (status, priority desc, id, owner_name);
