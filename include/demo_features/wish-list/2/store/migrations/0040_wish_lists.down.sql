DROP TABLE wishes;
DROP TABLE wish_lists;
