-- PostgreSQL runs this once, when its volume is new; it makes the database `hone` itself.
CREATE DATABASE label_studio;
CREATE DATABASE prefect;
