-- Uploads that come in several requests (tus). Their bytes lie in files named by their ids until the last one is there.
create table uploads (
    id text primary key,
    -- of the dataset that it becomes
    name text not null,
    -- Upload-Metadata as it came, to be given back
    metadata text not null,
    -- receiving | finishing | complete | failed
    status text not null,
    -- announced
    bytes bigint not null,
    -- of them on disk for certain; what the file has behind them does not count
    received bigint not null,
    -- digest that the client announced
    announced_sha256 text,
    -- digest that the bytes have, once all are there: from then on the blob of that name is needed
    sha256 text,
    created_at bigint not null,
    -- moves on with every request that brings something
    expires_at bigint not null,
    dataset_id text,
    -- JSON: {code, message}
    error text
);

-- asked by every sweep
create index uploads_expiry on uploads (expires_at);
