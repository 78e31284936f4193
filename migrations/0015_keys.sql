-- Keys of callers. From the first one on every request needs one, also when the last one was revoked: a revoked key keeps its row.
create table keys (
    id text primary key,
    name text not null,
    -- SHA-256 of the key, in hexadecimal; the key itself is known to its owner alone. It is 256 random bits, so it needs no salt.
    digest text not null unique,
    -- JSON: what it may do
    scopes text not null,
    -- JSON: the names of the only datasets and models that it may use; null: all
    datasets text,
    models text,
    created_at bigint not null,
    -- null: never
    expires_at bigint,
    -- written at most once a minute
    last_used_at bigint,
    revoked_at bigint
);

-- A name says which key is meant while the key is good.
create unique index keys_name on keys (name) where revoked_at is null;

-- Moves on with every key that is made or revoked, by whichever program: a server that runs reads the keys again when it has.
create table key_changes (
    -- there is one row
    one integer primary key check (one = 1),
    revision bigint not null
);
insert into key_changes (one, revision) values (1, 0);
