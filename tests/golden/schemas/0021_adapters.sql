-- A model that is an adapter.
update models set base_blob = 'cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2', base_bytes = 90 where id = 'mdl_019ab3c4d5e67f8091a2b3c4d5e60021';
