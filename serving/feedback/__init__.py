"""Feedback: what people say about answers, kept to measure the models and to train them again.

`answer_ids` makes and reads the ids of answers, `store` keeps feedback in the database, `service`
is what a worker uses, and `export` makes a data set of it.
"""
