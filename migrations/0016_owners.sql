-- The key that made a thing: its id, and its name, which stays when the key's row goes. Null: nobody needed a key then. What a key owns is
-- found by the name: a key that takes the place of a revoked one of its name goes on with what that one owned.
alter table datasets add column owner_id text;
alter table datasets add column owner_name text;
alter table uploads add column owner_id text;
alter table uploads add column owner_name text;
alter table jobs add column owner_id text;
alter table jobs add column owner_name text;
-- A job's model is its owner's.
alter table models add column owner_id text;
alter table models add column owner_name text;
