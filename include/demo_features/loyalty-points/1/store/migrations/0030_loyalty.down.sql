DROP TABLE loyalty_points;
