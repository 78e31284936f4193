-- A job asks which backbones models of its architecture share.
create index models_on_a_base on models (card ->> '$.architecture', id) where base_blob is not null;
