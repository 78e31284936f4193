-- Packs for weights that were trained on images resized bicubically; those of before are bilinear.
alter table packs add column bicubic integer not null default 0;
