"""python -m nibble VERB ..."""
from nibble import main

main()
