"""From every schema there has been to the present one; needed only by a database that an older version made."""
