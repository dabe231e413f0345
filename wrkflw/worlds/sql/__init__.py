"""What the SQL Worlds share: tables, statements, and storage over them."""
