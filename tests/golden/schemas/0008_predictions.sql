-- The second file of predictions.
update jobs set csv_blob = '53bb9b0b38ac812554abeb88ea6d56760d07ec147a75e8761c4f57ecc298218f' where id = 'job_019ab3c4d5e67f8091a2b3c4d5e60012';
