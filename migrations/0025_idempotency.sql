-- An Idempotency-Key belongs to whoever sent it: another caller may use the same text for something else. SQLite cannot change a primary key,
-- so the table is made again. What is in it keeps the owner of its job.
alter table idempotency_keys rename to keys_of_everybody;
create table idempotency_keys (
    -- id of the caller's key; empty where none was needed
    owner text not null,
    idempotency_key text not null,
    -- of the request's body
    sha256 text not null,
    job_id text not null,
    created_at bigint not null,
    primary key (owner, idempotency_key)
);
insert into idempotency_keys (owner, idempotency_key, sha256, job_id, created_at)
select coalesce(jobs.owner_id, ''), was.idempotency_key, was.sha256, was.job_id, was.created_at
from keys_of_everybody as was
left join jobs on jobs.id = was.job_id;
drop table keys_of_everybody;

-- What other requests under an Idempotency-Key were answered, for a day. Jobs have their own table, because a job and its key are one
-- transaction.
create table kept_answers (
    -- id of the caller's key; empty where none was needed
    owner text not null,
    idempotency_key text not null,
    -- digest of the method, the address and the headers that say what is asked for
    request_sha256 text not null,
    created_at bigint not null,
    -- What was read of the body: bytes, their digest, and whether that was all. Null while the request is being carried out, and so is the rest.
    body_bytes bigint,
    body_sha256 text,
    body_ended integer,
    status integer,
    -- JSON: names with values
    headers text,
    -- null also where the answer is not kept: it is large, or has a secret
    answer blob,
    primary key (owner, idempotency_key)
);
create index kept_answers_created_at on kept_answers (created_at);
