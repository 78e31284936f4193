-- An identity, and a blob that was let go.
insert into data_directory (one, id, generation, mark, mark_before)
values (1, '019ab3c4d5e67f8091a2b3c4d5e6f708', 3, 'c', 'b');
insert into released_blobs (sha256, is_cache)
values ('283bb9deef02e6843abfb538efa1eca70801bd8a701c3f98191e123496339247', 0);
