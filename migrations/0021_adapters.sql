-- A model may be an adapter: its own file then has only what it changes, and this one all other weights. Several models share it.
alter table models add column base_blob text;
alter table models add column base_bytes bigint not null default 0;
