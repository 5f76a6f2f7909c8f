"""usage: template.py MODEL.gguf OUT.jinja

Take the chat template out of a GGUF file: the folder's own tokenizer_config.json may lack one.
"""
import sys
from pathlib import Path

from peers import require

field = require("gguf").GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"]
Path(sys.argv[2]).write_text(field.contents(), encoding="utf-8")
