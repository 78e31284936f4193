-- Not every job makes a model: some leave a result that is read with the job. A model that was measured keeps its evaluation.

-- digest of what a job found: evaluation.json, lr_find.json
alter table jobs add column result_blob text;

-- digest of evaluation.json; null where nothing was there to measure on, and for models of before
alter table models add column evaluation_blob text;
