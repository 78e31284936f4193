-- A turn in the queue.
insert into queue_turns (owner, turn)
values ('camera-7', 4);
