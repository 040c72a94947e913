#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What qapi/gen.py says to a schema that is wrong, and that the right one gives its tables."""

import contextlib
import importlib.util
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
QAPI = Path(__file__).resolve().parents[2] / 'qapi'
SPEC = importlib.util.spec_from_file_location('gen', QAPI / 'gen.py')
gen = importlib.util.module_from_spec(SPEC)
sys.modules['gen'] = gen
SPEC.loader.exec_module(gen)

GOOD = """##
# @Colour:
#
# A colour.
#
# @red: like ``blood``
#
# @dark-blue: like the sea,
#     at night.  See @red
#
# Since: 1.0
##
{ 'enum': 'Colour', 'data': [ 'red', 'dark-blue' ] }

##
# @paint:
#
# Paint.
#
# @colours: which
#
# @coats: how many
#
# Errors:
#     - If it
#       rains
#
# Since: 1.0
##
{ 'command': 'paint',
  'data': { 'colours': [ 'Colour' ], '*coats': 'int' } }
"""


class Errors(unittest.TestCase):
    def refuses(self, old, new, message):
        self.assertIn(old, GOOD)
        with self.assertRaisesRegex(gen.SchemaError, message):
            gen.parse_schema(GOOD.replace(old, new))

    def test_member_without_documentation(self):
        self.refuses('# @coats: how many\n', '#\n',
                     "line 16: 'paint': member 'coats' is not documented")

    def test_documentation_without_member(self):
        self.refuses(", '*coats': 'int'", '', "'coats' is documented but not a member")

    def test_value_without_documentation(self):
        self.refuses("'red',", "'red', 'green',", "member 'green' is not documented")

    def test_documented_twice(self):
        self.refuses('# @coats: how many', '# @colours: how many', '@colours is documented twice')

    def test_unknown_type(self):
        self.refuses("'int'", "'integer'", "type 'integer' is not known")

    def test_unknown_kind(self):
        self.refuses("'enum'", "'union'", "no 'command', 'struct' or 'enum'")

    def test_unknown_key(self):
        self.refuses("'int' }", "'int' }, 'gen': 'no'", "'gen' of command 'paint' is not known")

    def test_key_given_twice(self):
        self.refuses("'*coats': 'int'", "'coats': 'int', 'coats': 'str'", "'coats' is given twice")

    def test_other_symbol(self):
        self.refuses('# @paint:', '# @print:', "'paint' has no comment of its own")

    def test_no_since(self):
        self.refuses('# Since: 1.0\n##\n{ \'command\'', "##\n{ 'command'", 'no "Since:"')

    def test_no_end(self):
        self.refuses("'int' } }", "'int' }", 'no end')

    def test_comment_without_end(self):
        self.refuses("# Since: 1.0\n##\n{ 'enum'", "# Since: 1.0\n{ 'enum'", 'has no end')

    def test_not_an_expression(self):
        self.refuses("'data': { 'colours'", "'data' { 'colours'", 'line 30: ')

    def test_defined_twice(self):
        with self.assertRaisesRegex(gen.SchemaError, "'Colour' is defined twice"):
            gen.parse_schema(GOOD + GOOD)

    def test_returns_no_struct(self):
        self.refuses("'data': { 'colours'", "'returns': 'Colour', 'data': { 'colours'",
                     "returns 'Colour', which is not a struct")


class Output(unittest.TestCase):
    def setUp(self):
        self.schema = gen.parse_schema(GOOD)

    def test_header(self):
        header = gen.c_header(self.schema, 's.json')
        self.assertIn('\tLM_QAPI_COLOUR_DARK_BLUE,\n', header)
        self.assertIn('extern const char *const lm_qapi_Colour[];', header)

    def test_source(self):
        source = gen.c_source(self.schema, 's.json', 's.h')
        self.assertIn('.enumeration = &lm_qapi_Colour_enum', source)
        self.assertIn('{ "paint", args_paint, 2, NULL },', source)

    def test_markdown(self):
        page = gen.markdown(self.schema, 's.json')
        self.assertIn('| `colours` | list of [Colour](#colour) |  | which |', page)
        self.assertIn('| `dark-blue` | like the sea, at night. See `red` |', page)
        self.assertIn('| `red` | like `blood` |', page)
        self.assertIn('- If it rains\n', page)
        self.assertLess(page.index('### paint'), page.index('### Colour'))


class Check(unittest.TestCase):
    def check(self, change):
        with tempfile.TemporaryDirectory() as folder:
            schema, page = Path(folder, 's.json'), Path(folder, 'page.md')
            schema.write_text(GOOD, encoding='utf-8')
            self.assertEqual(gen.main(['gen.py', '--markdown', str(schema), str(page)]), 0)
            page.write_text(page.read_text(encoding='utf-8') + change, encoding='utf-8')
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                return gen.main(['gen.py', '--check', str(schema), str(page)]), said.getvalue()

    def test_current(self):
        self.assertEqual(self.check(''), (0, ''))

    def test_stale(self):
        code, said = self.check('more\n')
        self.assertEqual(code, 1)
        self.assertRegex(said, r'page\.md is not what s\.json gives: run qapi/gen\.py')
        self.assertEqual(said.count('\n'), 1)


if __name__ == '__main__':
    unittest.main()
