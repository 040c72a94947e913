#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Generate C tables and the reference page from the commands' schema.

    gen.py --c SCHEMA OUT.h OUT.c     tables of commands, structs and enums
    gen.py --markdown SCHEMA OUT.md   the reference page
    gen.py --check SCHEMA PAGE.md     exit 1 unless PAGE.md is what SCHEMA gives

The schema is in QAPI's language, of which this reads what the project uses: 'command', 'struct'
and 'enum', each after its own ## comment. Each member must be documented, and nothing else may be.
"""

import ast
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

BUILTIN = {'str': 'STR', 'int': 'INT', 'size': 'SIZE', 'number': 'NUMBER', 'bool': 'BOOL'}
KEYS = {'command': {'data', 'returns'}, 'struct': {'data'}, 'enum': {'data'}}
SECTION = re.compile(r'(Errors|Returns|Since):\s*(.*)')
SYMBOL = re.compile(r'@([\w-]+):\s*(.*)')
EXAMPLE = '.. qmp-example::'


class SchemaError(Exception):
    """The schema is wrong; the text says where and why."""


@dataclass
class Doc:
    """One ## comment block."""
    line: int
    symbol: str = ''
    body: list = field(default_factory=list)
    members: dict = field(default_factory=dict)    # name -> list of lines
    sections: dict = field(default_factory=dict)   # 'Since' -> list of lines
    examples: list = field(default_factory=list)   # each a list of lines


@dataclass
class Member:
    name: str
    type: str
    optional: bool
    is_list: bool


@dataclass
class Entity:
    kind: str       # command, struct or enum
    name: str
    members: list   # of Member; of an enum, of str
    returns: str    # of a command, '' if nothing
    doc: Doc

    def member_names(self):
        return [m if isinstance(m, str) else m.name for m in self.members]


@dataclass
class Schema:
    entities: list
    freeform: list  # of Doc

    def of_kind(self, kind):
        return [e for e in self.entities if e.kind == kind]


# --------------------------------------------------------------------- reading

def literal(node, line):
    """The value of an expression made of strings, lists and dicts."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.List):
        return [literal(item, line) for item in node.elts]
    if isinstance(node, ast.Dict):
        result = {}
        for key, value in zip(node.keys, node.values):
            name = literal(key, line)
            if name in result:
                raise SchemaError(f"line {line}: '{name}' is given twice")
            result[name] = literal(value, line)
        return result
    raise SchemaError(f'line {line}: only strings, lists and dicts are known here')


def parse_expression(text, line):
    try:
        return literal(ast.parse(text, mode='eval').body, line)
    except SyntaxError as err:
        raise SchemaError(f'line {line}: {err.msg}') from None


def parse_doc(lines, line):
    """Sort the lines of a ## block into body, members, sections and examples."""
    doc = Doc(line)
    target = doc.body
    for number, text in enumerate(lines):
        symbol, section = SYMBOL.match(text), SECTION.match(text)
        if number == 0 and symbol:
            doc.symbol = symbol[1]
        elif symbol and doc.symbol:
            if symbol[1] in doc.members:
                raise SchemaError(f'line {line + number}: @{symbol[1]} is documented twice')
            target = doc.members[symbol[1]] = [symbol[2]]
        elif section and doc.symbol:
            target = doc.sections[section[1]] = [section[2]]
        elif text == EXAMPLE:
            target = []
            doc.examples.append(target)
        else:
            if text and not text.startswith(' ') and target is not doc.body:
                target = doc.body
            target.append(text)
    return doc


def split_blocks(text):
    """Yield ('doc', line, lines) and ('expression', line, text)."""
    doc, expression, start, depth = None, [], 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() == '##' and not expression:
            if doc is None:
                doc, start = [], number + 1
            else:
                yield 'doc', start, doc
                doc = None
        elif doc is not None:
            if not line.startswith('#'):
                raise SchemaError(f'line {number}: the comment of line {start - 1} has no end')
            doc.append(re.sub(r'^# ?', '', line).rstrip())
        elif line.strip() and not line.startswith('#'):
            if not expression:
                start = number
            expression.append(line)
            bare = re.sub(r"'[^']*'", '', line)
            depth += len(re.findall(r'[{\[]', bare)) - len(re.findall(r'[}\]]', bare))
            if depth <= 0:
                yield 'expression', start, '\n'.join(expression)
                expression, depth = [], 0
    if doc is not None or expression:
        raise SchemaError(f'line {start}: no end')


def make_member(name, spec):
    optional, is_list = name.startswith('*'), isinstance(spec, list)
    return Member(name.lstrip('*'), spec[0] if is_list else spec, optional, is_list)


def make_entity(expression, doc, line):
    kind = next((k for k in KEYS if k in expression), None)
    if kind is None:
        raise SchemaError(f"line {line}: no 'command', 'struct' or 'enum'")
    name = expression.pop(kind)
    unknown = sorted(set(expression) - KEYS[kind])
    if unknown:
        raise SchemaError(f"line {line}: '{unknown[0]}' of {kind} '{name}' is not known")
    data = expression.get('data', {})
    members = data if kind == 'enum' else [make_member(n, s) for n, s in data.items()]
    if doc is None or doc.symbol != name:
        raise SchemaError(f"line {line}: '{name}' has no comment of its own before it")
    return Entity(kind, name, members, expression.get('returns', ''), doc)


def check_entity(entity, types):
    where = f"line {entity.doc.line}: '{entity.name}'"
    names = entity.member_names()
    for name in names:
        if name not in entity.doc.members:
            raise SchemaError(f"{where}: member '{name}' is not documented")
    for name in entity.doc.members:
        if name not in names:
            raise SchemaError(f"{where}: '{name}' is documented but not a member")
    used = [m.type for m in entity.members if isinstance(m, Member)]
    for name in used + ([entity.returns] if entity.returns else []):
        if name not in BUILTIN and name not in types:
            raise SchemaError(f"{where}: type '{name}' is not known")
    if entity.returns in BUILTIN or (entity.returns and types[entity.returns].kind != 'struct'):
        raise SchemaError(f"{where}: returns '{entity.returns}', which is not a struct")
    if 'Since' not in entity.doc.sections:
        raise SchemaError(f'{where}: no "Since:"')


def parse_schema(text):
    entities, freeform, pending = [], [], None
    for kind, line, content in split_blocks(text):
        if kind == 'doc':
            if pending is not None:
                raise SchemaError(f"line {pending.line}: nothing follows '{pending.symbol}'")
            doc = parse_doc(content, line)
            if doc.symbol:
                pending = doc
            else:
                freeform.append(doc)
        else:
            entity = make_entity(parse_expression(content, line), pending, line)
            if any(e.name == entity.name for e in entities):
                raise SchemaError(f"line {line}: '{entity.name}' is defined twice")
            entities.append(entity)
            pending = None
    if pending is not None:
        raise SchemaError(f"line {pending.line}: nothing follows '{pending.symbol}'")
    types = {e.name: e for e in entities if e.kind != 'command'}
    for entity in entities:
        check_entity(entity, types)
    return Schema(entities, freeform)


# -------------------------------------------------------------------- C tables

C_TYPES = '''\
#include <stdbool.h>
#include <stddef.h>

typedef enum LmQapiType {
	LM_QAPI_TYPE_STR,
	LM_QAPI_TYPE_INT,
	LM_QAPI_TYPE_SIZE,   /* a whole number, not negative */
	LM_QAPI_TYPE_NUMBER, /* may have a fraction */
	LM_QAPI_TYPE_BOOL,
	LM_QAPI_TYPE_ENUM,   /* a string, one of enumeration's */
	LM_QAPI_TYPE_STRUCT, /* an object, with structure's members */
} LmQapiType;

typedef struct LmQapiEnum {
	const char *name;
	const char *const *values; /* NULL at the end */
	size_t n_values;
} LmQapiEnum;

typedef struct LmQapiMember {
	const char *name;
	LmQapiType type; /* of a list, that of its elements */
	bool optional;
	bool is_list;
	const LmQapiEnum *enumeration;        /* LM_QAPI_TYPE_ENUM, else NULL */
	const struct LmQapiStruct *structure; /* LM_QAPI_TYPE_STRUCT, else NULL */
} LmQapiMember;

typedef struct LmQapiStruct {
	const char *name;
	const LmQapiMember *members;
	size_t n_members;
} LmQapiStruct;

typedef struct LmQapiCommand {
	const char *name;
	const LmQapiMember *args; /* NULL if n_args is 0 */
	size_t n_args;
	const LmQapiStruct *returns; /* NULL: an empty object */
} LmQapiCommand;
'''


def banner(schema_name):
    return ('/* SPDX-License-Identifier: GPL-2.0-or-later */\n'
            f'/* Made by qapi/gen.py from {schema_name}; do not edit. */\n')


def constant(name):
    """LocalhostMigrateStatus -> LOCALHOST_MIGRATE_STATUS; io-uring -> IO_URING."""
    return re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).replace('-', '_').upper()


def c_header(schema, schema_name):
    out = [banner(schema_name), '#ifndef QAPI_LOCALHOST_MIGRATE_H\n'
           '#define QAPI_LOCALHOST_MIGRATE_H\n', C_TYPES]
    for enum in schema.of_kind('enum'):
        prefix = f'LM_QAPI_{constant(enum.name)}_'
        values = ''.join(f'\t{prefix}{constant(v)},\n' for v in enum.members + ['_max'])
        out.append(f'typedef enum LmQapi{enum.name} {{\n{values}}} LmQapi{enum.name};\n'
                   f'extern const char *const lm_qapi_{enum.name}[]; /* NULL at the end */\n'
                   f'extern const LmQapiEnum lm_qapi_{enum.name}_enum;\n')
    out += [f'extern const LmQapiStruct lm_qapi_{s.name};' for s in schema.of_kind('struct')]
    commands = ''.join(f'\tLM_QAPI_COMMAND_{constant(c.name)},\n' for c in schema.of_kind('command'))
    out.append('\n/* Indices into lm_qapi_commands. */\n'
               f'typedef enum LmQapiCommandIndex {{\n{commands}\tLM_QAPI_COMMAND__MAX,\n'
               '} LmQapiCommandIndex;\n'
               'extern const LmQapiCommand lm_qapi_commands[]; /* name NULL at the end */\n'
               'extern const size_t lm_qapi_n_commands;\n\n#endif')
    return '\n'.join(out) + '\n'


def c_members(members, types, table):
    rows = []
    for member in members:
        user = types.get(member.type)
        kind = user.kind.upper() if user else BUILTIN[member.type]
        pointer = ''
        if user:
            pointer = (f'\t\t.enumeration = &lm_qapi_{user.name}_enum,\n' if user.kind == 'enum'
                       else f'\t\t.structure = &lm_qapi_{user.name},\n')
        rows.append(f'\t{{\n\t\t.name = "{member.name}",\n\t\t.type = LM_QAPI_TYPE_{kind},\n'
                    f'\t\t.optional = {str(member.optional).lower()},\n'
                    f'\t\t.is_list = {str(member.is_list).lower()},\n{pointer}\t}},\n')
    return f'static const LmQapiMember {table}[] = {{\n{"".join(rows)}}};\n'


def c_source(schema, schema_name, header_name):
    types = {e.name: e for e in schema.entities if e.kind != 'command'}
    out = [banner(schema_name), f'#include "{header_name}"\n']
    for enum in schema.of_kind('enum'):
        values = ''.join(f'\t"{value}",\n' for value in enum.members)
        out.append(f'const char *const lm_qapi_{enum.name}[] = {{\n{values}\tNULL,\n}};\n'
                   f'const LmQapiEnum lm_qapi_{enum.name}_enum = {{\n'
                   f'\t"{enum.name}", lm_qapi_{enum.name}, {len(enum.members)}\n}};\n')
    for struct in schema.of_kind('struct'):
        out.append(c_members(struct.members, types, f'members_{struct.name}'))
        out.append(f'const LmQapiStruct lm_qapi_{struct.name} = {{\n'
                   f'\t"{struct.name}", members_{struct.name}, {len(struct.members)}\n}};\n')
    rows = []
    for command in schema.of_kind('command'):
        table = 'NULL'
        if command.members:
            table = 'args_' + command.name.replace('-', '_')
            out.append(c_members(command.members, types, table))
        returns = f'&lm_qapi_{command.returns}' if command.returns else 'NULL'
        rows.append(f'\t{{ "{command.name}", {table}, {len(command.members)}, {returns} }},\n')
    out.append(f'const LmQapiCommand lm_qapi_commands[] = {{\n{"".join(rows)}'
               '\t{ NULL, NULL, 0, NULL },\n};\n'
               f'const size_t lm_qapi_n_commands = {len(rows)};')
    return '\n'.join(out) + '\n'


# --------------------------------------------------------------- the reference

def inline(text):
    """QAPI's inline markup to Markdown's."""
    text = re.sub(r'``(.+?)``', r'`\1`', text, flags=re.S)
    text = re.sub(r'@([\w-]*\w)', r'`\1`', text)
    return re.sub(r'(\S)  +', r'\1 ', text).strip()


def joined(lines):
    return inline(' '.join(line.strip() for line in lines if line.strip()))


def paragraphs(lines):
    """Lines, wrapped as they are, with blank lines at the ends and doubled ones removed."""
    return re.sub(r'\n{3,}', '\n\n', inline('\n'.join(lines)))


def type_text(member, types):
    name = member.type
    text = f'[{name}](#{name.lower()})' if name in types else name
    return f'list of {text}' if member.is_list else text


def table(header, rows):
    head = f'| {" | ".join(header)} |\n|{"---|" * len(header)}\n'
    return head + ''.join('| ' + ' | '.join(c.replace('|', '\\|') for c in row) + ' |\n'
                          for row in rows)


def member_table(entity, types, first):
    doc = entity.doc.members
    if entity.kind == 'enum':
        return table([first, 'meaning'], [[f'`{v}`', joined(doc[v])] for v in entity.members])
    return table([first, 'type', '', 'meaning'],
                 [[f'`{m.name}`', type_text(m, types), 'optional' if m.optional else '',
                   joined(doc[m.name])] for m in entity.members])


def bullets(lines):
    """A list whose items may go on over several lines: one line each."""
    items = []
    for line in (text.strip() for text in lines):
        if line.startswith('- '):
            items.append(line)
        elif line and items:
            items[-1] += ' ' + line
    return '\n'.join(inline(item) for item in items)


def example_text(lines):
    filled = [line for line in lines if line.strip()]
    indent = min(len(line) - len(line.lstrip()) for line in filled)
    body = '\n'.join(line[indent:] for line in filled)
    return f'Example:\n\n```\n{body}\n```\n'


def entity_page(entity, types):
    sections = entity.doc.sections
    kind = '' if entity.kind == 'command' else f'*{entity.kind}.* '
    out = [f'### {entity.name}\n', kind + paragraphs(entity.doc.body) + '\n']
    first = {'command': 'argument', 'struct': 'member', 'enum': 'value'}[entity.kind]
    if entity.members:
        out.append(member_table(entity, types, first))
    elif entity.kind == 'command':
        out.append('No arguments.\n')
    if entity.returns:
        out.append(f'Returns [{entity.returns}](#{entity.returns.lower()}).\n')
    if 'Errors' in sections:
        out.append('Errors:\n\n' + bullets(sections['Errors']) + '\n')
    out += [example_text(lines) for lines in entity.doc.examples]
    out.append(f'Since {joined(sections["Since"])}\n')
    return '\n'.join(out)


def markdown(schema, schema_name):
    types = {e.name: e for e in schema.entities if e.kind != 'command'}
    out = ['# Reference\n', f'<!-- Made by qapi/gen.py from {schema_name}; do not edit. -->\n']
    for doc in schema.freeform:
        out.append(paragraphs(line for line in doc.body if not line.startswith('=')) + '\n')
    commands = schema.of_kind('command')
    out.append('Commands: ' + ', '.join(f'[{c.name}](#{c.name})' for c in commands) + '.\n')
    out.append('## Commands\n')
    out += [entity_page(e, types) for e in commands]
    out.append('## Types\n')
    out += [entity_page(e, types) for e in reversed(list(types.values()))]
    return '\n'.join(out)


# ------------------------------------------------------------------------ main

def check_page(schema, schema_name, page):
    if page.exists() and page.read_text(encoding='utf-8') == markdown(schema, schema_name):
        return 0
    print(f'{page} is not what {schema_name} gives: run qapi/gen.py --markdown', file=sys.stderr)
    return 1


def run(mode, schema_path, outputs):
    schema = parse_schema(schema_path.read_text(encoding='utf-8'))
    if mode == '--check':
        return check_page(schema, schema_path.name, outputs[0])
    if mode == '--markdown':
        outputs[0].write_text(markdown(schema, schema_path.name), encoding='utf-8')
    else:
        header, source = outputs
        header.write_text(c_header(schema, schema_path.name), encoding='utf-8')
        source.write_text(c_source(schema, schema_path.name, header.name), encoding='utf-8')
    return 0


def main(argv):
    if len(argv) < 2 or {'--c': 5, '--markdown': 4, '--check': 4}.get(argv[1]) != len(argv):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return run(argv[1], Path(argv[2]), [Path(name) for name in argv[3:]])
    except (SchemaError, OSError) as err:
        print(f'{argv[2]}: {err}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv))
