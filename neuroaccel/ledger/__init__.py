"""What a network costs: counts that every executor agrees on, times constants that name their source.

>>> from neuroaccel.ledger import profiles
>>> profiles()
('cmos45', 'loihi1-davies2018')
"""

from neuroaccel.ledger.book import COLUMNS, FATES, Book, join
from neuroaccel.ledger.counting import count
from neuroaccel.ledger.energy_report import EnergyReport, energy
from neuroaccel.ledger.execution import ExecutionBook, execution_book
from neuroaccel.ledger.from_engine import book_of, count_with_engine
from neuroaccel.ledger.profile import Constant, Profile, load_profile, profiles
from neuroaccel.ledger.table import format_book, format_execution, format_table, to_json

__all__ = [
    "COLUMNS",
    "FATES",
    "Book",
    "Constant",
    "EnergyReport",
    "ExecutionBook",
    "Profile",
    "book_of",
    "count",
    "count_with_engine",
    "energy",
    "execution_book",
    "format_book",
    "format_execution",
    "format_table",
    "join",
    "load_profile",
    "profiles",
    "to_json",
]
