"""The tables of the gallery."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from serving.database.engines import UtcDateTime

SCHEMA_VERSION = 2
"""Version of these tables. A database of version 1, in which ids of people are as they were sent,
is brought up to it; one with another version is refused."""


ChangeNumber = BigInteger().with_variant(Integer(), "sqlite")
"""The type of a change's number; on SQLite, it makes a primary key an alias of the rowid."""

metadata = MetaData()
gallery = Table(
    "gallery",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1: the table has one row
    Column("version", Integer, nullable=False),
    Column("head", ChangeNumber, nullable=False),  # number of the newest change
    Column("model", String(64)),  # hash of the model whose embeddings are searched
)
people = Table(
    "people",
    metadata,
    Column(
        "number", ChangeNumber, primary_key=True, autoincrement=False
    ),  # of the change that made it
    Column("name", Text, nullable=False, unique=True),
    Column("created", UtcDateTime, nullable=False),
)
pictures = Table(
    "pictures",
    metadata,
    Column("number", ChangeNumber, primary_key=True, autoincrement=False),  # of its enrolment
    Column("id", String(32), nullable=False, unique=True),
    Column("person", ForeignKey("people.number"), nullable=False, index=True),
    Column("created", UtcDateTime, nullable=False),
    Column("aligned", Boolean, nullable=False),
    Column("content", LargeBinary),  # the picture as sent; null if pictures are not kept
)
embeddings = Table(
    "embeddings",
    metadata,
    Column("picture", ForeignKey("pictures.number"), primary_key=True, autoincrement=False),
    Column("model", String(64), primary_key=True),
    Column("vector", LargeBinary, nullable=False),  # D float32, little-endian
)
requests = Table(
    "requests",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("created", UtcDateTime, nullable=False, index=True),
    Column(
        "person", ChangeNumber, index=True
    ),  # these three are emptied when the person is removed
    Column("fingerprint", String(64)),
    Column("answer", Text),
)
changes = Table(
    "changes",
    metadata,
    Column("number", ChangeNumber, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("person", Text),
    Column("picture", String(32)),
    Column("removed", ChangeNumber),  # number of the picture that left the gallery
)
