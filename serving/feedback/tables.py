"""The tables of feedback, beside those of the gallery."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

from serving.database.engines import UtcDateTime

SCHEMA_VERSION = 1
"""Version of these tables; a database with another version is refused."""

metadata = MetaData()
state = Table(
    "feedback_state",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1: the table has one row
    Column("version", Integer, nullable=False),
    Column("secret", LargeBinary, nullable=False),  # signs the ids of answers
)
versions = Table(
    "feedback_versions",
    metadata,
    Column("version", String(16), primary_key=True),  # start of the digest of the manifest
    Column("model", Text, nullable=False),
    Column("hash", String(64), nullable=False),  # sha256 of the graph
    Column("task", Text, nullable=False),
    Column("classes", Text, nullable=False),  # JSON
)
feedback = Table(
    "feedback",
    metadata,
    Column("key", String(32), primary_key=True),  # code of the answer's id
    Column("version", ForeignKey("feedback_versions.version"), nullable=False, index=True),
    Column("answered", UtcDateTime, nullable=False),
    Column("given", UtcDateTime, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("predicted", Text, nullable=False),  # JSON: names of the predicted classes
    Column("probability", Float),  # of the predicted class; null in multi-label answers
    Column("bin", SmallInteger),  # of the probability
    Column("correct", Boolean, nullable=False),
    Column("labels", Text),  # JSON: names of the right classes; null if they are not known
    Column("picture", String(32)),  # digest of the picture; null if it is not kept
    Column("content", LargeBinary),  # the picture as sent
)
