INSERT INTO tenants (id, db_user) VALUES ('acme', 'postgres'), ('initech', 'b'), ('umbrella', 'c');
