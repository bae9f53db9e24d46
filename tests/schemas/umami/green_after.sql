
-- The next version: one column has a better name, one a better type.
ALTER TABLE public.website_event RENAME COLUMN url_path TO path;
ALTER TABLE public.report ALTER COLUMN parameters TYPE jsonb USING parameters::jsonb;
