-- The evaluation of a job and of its model.
update jobs set result_blob = 'efe77b201dc216c0edf435a227df2b2898d3f6ea1ff16e5d4d0d4ec0cf593271' where id = 'job_019ab3c4d5e67f8091a2b3c4d5e60011';
update models set evaluation_blob = 'efe77b201dc216c0edf435a227df2b2898d3f6ea1ff16e5d4d0d4ec0cf593271' where id = 'mdl_019ab3c4d5e67f8091a2b3c4d5e60021';
