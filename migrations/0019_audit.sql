-- Who changed what, when and from where. Nothing here is needed for anything else: old rows go by their age and number.
create table audit (
    id text primary key,
    at bigint not null,
    -- null: there is no key, or nobody was let in
    key_id text,
    key_name text,
    -- of HTTP, or COMMAND for one of `finetuned keys`
    method text not null,
    -- template of the path, or the command
    route text not null,
    -- id, where it is known
    thing text,
    -- null: a command, or a client that left before it was answered
    status bigint,
    address text,
    request_id text,
    -- refusals before this one that were too many to write down
    skipped bigint not null
);

create index audit_at on audit (at);
-- A server with a file of lines looks for those of other programs.
create index audit_commands on audit (id) where method = 'COMMAND';
