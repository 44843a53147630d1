DROP TABLE wrapped_carts;
