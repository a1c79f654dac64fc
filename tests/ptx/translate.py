#!/usr/bin/env python3
"""Translates PTX, as nvcc makes it, into C++: translate.py FOLDER FILE.ptx...

Writes FOLDER/FILE.cpp of each. A kernel becomes a function that runs one thread of it (machine.h),
instruction by instruction (arithmetic.h); one whose threads wait for each other becomes a coroutine
(phases.h). What is not known here is an error that names file, line and instruction: kernels of this
project use no calls, textures or tensor cores, and of the atomics one.
"""
import io
import pathlib
import re
import sys

SIZES = {'8': 1, '16': 2, '32': 4, '64': 8}
REGISTERS = {'pred': 'bool', 'b8': 'u8', 'b16': 'u16', 'b32': 'u32', 'b64': 'u64', 'f32': 'u32', 'f64': 'u64',
             'u16': 'u16', 'u32': 'u32', 'u64': 'u64', 's16': 'u16', 's32': 'u32', 's64': 'u64'}
SPECIAL = re.compile(r'^%(tid|ntid|ctaid|nctaid)\.([xyz])$')
COMPARISONS = {'lo': 'lt', 'ls': 'le', 'hi': 'gt', 'hs': 'ge'}
SHUFFLES = {'idx': 'kIndex', 'up': 'kUp', 'down': 'kDown', 'bfly': 'kButterfly'}

# Instructions without their type: the function of arithmetic.h, and the types of operands that are not
# of the instruction's own type.
ARITHMETIC = {
    'add': 'add', 'add.rn': 'add', 'sub': 'sub', 'sub.rn': 'sub', 'mul': 'mul', 'mul.rn': 'mul',
    'mul.lo': 'mul_lo', 'mul.hi': 'mul_hi', 'mul.wide': 'mul_wide', 'mad.lo': 'mad_lo', 'mad.wide': 'mad_wide',
    'fma.rn': 'fma', 'div': 'div', 'div.rn': 'div', 'rem': 'rem', 'rcp.rn': 'rcp', 'rcp.approx.ftz': 'rcp_approx',
    'sqrt.rn': 'sqrt', 'abs': 'abs', 'neg': 'neg', 'min': 'min', 'max': 'max', 'and': 'bit_and', 'or': 'bit_or',
    'xor': 'bit_xor', 'not': 'bit_not', 'shl': 'shl', 'shr': 'shr',
}
OTHER_TYPES = {('shl', 1): 'u32', ('shr', 1): 'u32'}


class Unknown(Exception):
    pass


def size(kind):
    return SIZES[kind[1:]]


def c_type(kind):
    """The C++ type of a PTX type: bits are unsigned."""
    if kind == 'pred':
        return 'bool'
    if kind[1:] not in SIZES or kind[0] not in 'busf':
        raise Unknown(f'type {kind}')
    return ('u' if kind[0] == 'b' else kind[0]) + kind[1:]


def split(operands):
    """At the commas outside of braces and brackets."""
    return [part.strip() for part in re.findall(r'(?:\{[^}]*\}|\[[^\]]*\]|[^,])+', operands) if part.strip()]


def elements(operand):
    """The registers of {%a, %b}, or the one of %a."""
    return [part.strip() for part in operand.strip('{}').split(',')]


def register(operand):
    if not re.match(r'^%\w+$', operand):
        raise Unknown(f'a register is expected, not {operand}')
    return operand[1:] + '_'  # %f32 is no type


class Kernel:
    def __init__(self, name, dynamic):
        self.name = name
        self.dynamic = dynamic  # names of the shared memory whose size the launch says
        self.parameters = {}  # name -> (offset, bytes)
        self.parameter_bytes = 0
        self.most_threads = 0
        self.shared = {}  # name -> offset
        self.shared_bytes = 0
        self.local = {}
        self.local_bytes = 0
        self.registers = {}  # name -> C++ type
        self.code = []  # lines of C++
        self.sites = []  # (file, line)
        self.waits = False
        self.block = None  # where in the code its number of instructions goes
        self.block_size = 0

    def add_parameter(self, name, alignment, count):
        offset = -(-self.parameter_bytes // alignment) * alignment
        self.parameters[name] = (offset, count)
        self.parameter_bytes = offset + count

    def add_variable(self, space, name, alignment, count):
        begin = -(-getattr(self, f'{space}_bytes') // alignment) * alignment
        getattr(self, space)[name] = begin
        setattr(self, f'{space}_bytes', begin + count)

    def variables(self):
        """The addresses of its variables, as C++."""
        return {**self.shared, **self.local, **{name: 'kDynamic' for name in self.dynamic}}

    # Instructions are counted by runs that no branch leaves or enters.
    def count(self):
        if self.block is None:
            self.block = len(self.code)
            self.code.append('')
            self.block_size = 0
        self.block_size += 1
        self.code[self.block] = f't.executed += {self.block_size};'

    def operand(self, text, kind):
        """The value of an operand that an instruction reads as `kind`."""
        special = SPECIAL.match(text)
        if special:
            return f'as<{c_type(kind)}>(t.{special[1]}.{special[2]})'
        if text == '%laneid':
            return f'as<{c_type(kind)}>(t.laneid)'
        if text.startswith('%'):
            return register(text) if kind == 'pred' else f'as<{c_type(kind)}>({register(text)})'
        number = re.match(r'^0[fFdD]([0-9A-Fa-f]+)$', text)
        if number:
            bits = 'u32' if text[1] in 'fF' else 'u64'
            return f'as<{c_type(kind)}>({bits}{{0x{number[1]}}})'
        if text in self.variables():
            return f'{c_type(kind)}({self.variables()[text]})'
        try:
            value = int(text, 0)
        except ValueError:
            raise Unknown(f'operand {text}') from None
        if kind == 'pred':
            return 'true' if value else 'false'
        return f'static_cast<{c_type(kind)}>({value & (2 ** 64 - 1)}u)'

    def address(self, text):
        match = re.match(r'^\[\s*(%?[\w$]+)\s*(?:\+\s*(-?\d+))?\s*\]$', text)
        if not match:
            raise Unknown(f'address {text}')
        base = match[1]
        if base.startswith('%'):
            base = f'u64{{{register(base)}}}'
        elif base in self.variables():
            base = f'u64{{{self.variables()[base]}}}'
        else:
            raise Unknown(f'address of {base}')
        return f'{base} + static_cast<u64>({int(match[2] or 0)}LL)'

    def access(self, modifiers, operands, place):
        """ld and st, of one element or several."""
        loads = modifiers.pop(0) == 'ld'
        kind = modifiers.pop()
        lanes = next((int(m[1:]) for m in modifiers if re.match(r'^v[248]$', m)), 1)
        spaces = {'global': 'global', 'shared': 'in_shared', 'local': 'in_local'}
        space = next((m for m in modifiers if m in spaces), None)
        left = [m for m in modifiers if m not in spaces and m not in ('nc', 'volatile', f'v{lanes}')]
        if left:
            raise Unknown('.'.join(left))
        values, where = (operands[0], operands[1]) if loads else (operands[1], operands[0])
        how = spaces.get(space, 'generic')
        self.sites.append(place)
        code = (f'std::byte* at = t.{how}<{lanes * size(kind)}, Access::{"kLoad" if loads else "kStore"}>'
                f'({len(self.sites) - 1}, {self.address(where)});')
        for index, value in enumerate(elements(values)):
            if loads:
                code += f' set({register(value)}, element<{c_type(kind)}>(at, {index}));'
            else:
                code += f' put_element(at, {index}, {self.operand(value, kind)});'
        return code

    def atomic_add(self, operands, place):
        """A load and a store: blocks run one after another."""
        self.sites.append(place)
        return (f'std::byte* at = t.global<4, Access::kStore>({len(self.sites) - 1}, {self.address(operands[1])}); '
                f'const u32 old = element<u32>(at, 0); put_element(at, 0, add(old, {self.operand(operands[2], "u32")})); '
                f'set({register(operands[0])}, old);')

    def load_parameter(self, modifiers, operands):
        kind = modifiers[-1]
        match = re.match(r'^\[(\w+)(?:\+(\d+))?\]$', operands[1])
        offset = self.parameters[match[1]][0] + int(match[2] or 0)
        return ' '.join(f'set({register(value)}, t.parameter<{c_type(kind)}>({offset + index * size(kind)}));'
                        for index, value in enumerate(elements(operands[0])))

    def move(self, kind, operands):
        to, source = operands
        if to.startswith('{'):
            parts = elements(to)
            width = size(kind) * 8 // len(parts)
            return f'const u64 all = {register(source)};' + ''.join(
                f' set({register(part)}, static_cast<u{width}>(all >> {index * width}));'
                for index, part in enumerate(parts) if part != '_')
        if source.startswith('{'):
            parts = elements(source)
            width = size(kind) * 8 // len(parts)
            return f'set({register(to)}, static_cast<u{size(kind) * 8}>(' + ' | '.join(
                f'u64{{{self.operand(part, f"b{width}")}}} << {index * width}' for index, part in enumerate(parts)) + '));'
        return f'set({register(to)}, {self.operand(source, kind)});'

    def compare(self, modifiers, operands):
        comparison, kind = modifiers[1], modifiers[-1]
        combined = modifiers[2] if len(modifiers) == 4 else None
        if combined not in (None, 'and', 'or', 'xor'):
            raise Unknown('.'.join(modifiers))
        value = (f'{COMPARISONS.get(comparison, comparison)}({self.operand(operands[1], kind)}, '
                 f'{self.operand(operands[2], kind)})')
        if combined:
            value = f'bit_{combined}({value}, {self.operand(operands[3], "pred")})'
        return f'set({register(operands[0])}, {value});'

    def convert(self, modifiers, operands):
        to, source = modifiers[-2:]
        rounding = [m for m in modifiers[1:-2] if m not in ('rn', 'sat')]
        value = [self.operand(operand, source) for operand in operands[1:]]
        result = register(operands[0])
        if to == 'bf16x2':
            return f'set({result}, cvt_bf16x2({value[0]}, {value[1]}));'
        if to == 'bf16':
            return f'set({result}, cvt_bf16({value[0]}));'
        if to[0] != 'f' and source[0] == 'f':
            if rounding != ['rzi'] or 'sat' in modifiers:
                raise Unknown('.'.join(modifiers))
            return f'set({result}, cvt_rzi<{c_type(to)}>({value[0]}));'
        if rounding or 'sat' in modifiers:
            raise Unknown('.'.join(modifiers))
        return f'set({result}, cvt<{c_type(to)}>({value[0]}));'

    def cast_address(self, modifiers, operands):
        space = next(m for m in modifiers if m in ('global', 'shared', 'local'))
        base = {'global': 0, 'shared': 'kSharedWindow', 'local': 'kLocalWindow'}[space]
        sign = '-' if 'to' in modifiers else '+'
        return f'set({register(operands[0])}, {self.operand(operands[1], "u64")} {sign} {base});'

    def synchronise(self, modifiers, operands):
        self.waits = True
        if modifiers[0] == 'shfl':
            to = operands[0].split('|')
            kind = SHUFFLES[modifiers[2]]
            give, lane, clamp, members = (self.operand(operand, 'u32') for operand in operands[1:])
            code = (f'const Wait& given = co_await t.shuffle({{ShuffleKind::{kind}, {give}, {lane}, {clamp}, '
                    f'{members}}}); set({register(to[0])}, given.value);')
            return code + (f' set({register(to[1])}, given.in_range);' if len(to) == 2 else '')
        if modifiers[:2] == ['bar', 'warp']:
            return f'co_await t.warp_barrier({self.operand(operands[0], "u32")});'
        if len(operands) > 1:
            raise Unknown('a barrier of some of the threads')
        return f'co_await t.barrier({self.operand(operands[0], "u32")});'

    def instruction(self, opcode, operands, place):
        """The C++ of one instruction that is no branch."""
        modifiers = opcode.split('.')
        base, kind = modifiers[0], modifiers[-1]
        if base in ('ret', 'exit'):
            return 'RETURN;'
        if base == 'ld' and modifiers[1] == 'param':
            return self.load_parameter(modifiers, operands)
        if base in ('ld', 'st'):
            return self.access(modifiers, operands, place)
        if opcode == 'atom.global.add.u32':
            return self.atomic_add(operands, place)
        if opcode == 'membar.gl':
            return ''
        if base == 'mov':
            return self.move(kind, operands)
        if base == 'setp':
            return self.compare(modifiers, operands)
        if base == 'selp':
            return (f'set({register(operands[0])}, {self.operand(operands[3], "pred")} ? '
                    f'{self.operand(operands[1], kind)} : {self.operand(operands[2], kind)});')
        if base == 'cvt':
            return self.convert(modifiers, operands)
        if base == 'cvta':
            return self.cast_address(modifiers, operands)
        if base == 'prmt':
            values = ', '.join(self.operand(operand, 'u32') for operand in operands[1:])
            return f'set({register(operands[0])}, prmt({values}));'
        if opcode in ('bar.sync', 'barrier.sync', 'bar.warp.sync') or opcode.startswith('shfl.sync.'):
            return self.synchronise(modifiers, operands)
        name = '.'.join(modifiers[:-1])
        if name not in ARITHMETIC:
            raise Unknown(opcode)
        kinds = [OTHER_TYPES.get((base, index), kind) for index in range(len(operands) - 1)]
        if name == 'mad.wide':
            kinds[2] = kind[0] + str(size(kind) * 16)
        values = ', '.join(self.operand(operand, k) for operand, k in zip(operands[1:], kinds))
        return f'set({register(operands[0])}, {ARITHMETIC[name]}({values}));'

    def label(self, name):
        self.code.append(name.replace('$', '') + ':;')
        self.block = None

    def statement(self, text, place):
        match = re.match(r'^(?:@(!?)(%\w+)\s+)?([a-z][\w.]*)\s*(.*)$', text, re.S)
        if not match:
            raise Unknown(text)
        negated, predicate, opcode, rest = match.groups()
        self.count()
        if opcode in ('bra', 'bra.uni'):
            code = f'goto {rest.strip().replace("$", "")};'
        else:
            code = '{ ' + self.instruction(opcode, split(rest), place) + ' }'
        if predicate:
            code = f'if ({negated}{register(predicate)}) {code}'
        self.code.append(code)
        if opcode in ('bra', 'bra.uni', 'ret', 'exit'):
            self.block = None


class Translator:
    def __init__(self, path):
        self.path = path
        self.kernels = []
        self.files = {}
        self.place = ('0', 0)

    def declaration(self, kernel, line):
        """Of registers and of variables in a kernel; whether the line is one."""
        match = re.match(r'^\.reg\s+\.(\w+)\s+%(\w+)(?:<(\d+)>)?;$', line)
        if match:
            kind, name, count = match.groups()
            names = [f'{name}{i}_' for i in range(int(count))] if count else [name + '_']
            for each in names:
                # One of a scope in the kernel is written before it is read, so they can be the same.
                if kernel.registers.setdefault(each, REGISTERS[kind]) != REGISTERS[kind]:
                    raise Unknown(f'%{name}, of two types')
            return True
        match = re.match(r'^\.(shared|local)\s+\.align\s+(\d+)\s+\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?;$', line)
        if match:
            kernel.add_variable(match[1], match[4], int(match[2]), size(match[3]) * int(match[5] or 1))
            return True
        return False

    def locate(self, line):
        """The outermost place that a .loc names: what was inlined is at the call."""
        places = re.findall(r'(?:\.loc|inlined_at)\s+(\d+)\s+(\d+)', line)
        if places and int(places[-1][1]):
            self.place = (places[-1][0], int(places[-1][1]))

    def body_line(self, kernel, line):
        if re.match(r'^\.loc\s', line):
            self.locate(line)
        elif line.startswith('.pragma') or line in ('{', '}') or self.declaration(kernel, line):
            pass
        elif re.match(r'^\$?\w+:$', line):
            kernel.label(line[:-1])
        elif line.startswith('.'):
            raise Unknown(line)
        else:
            for statement in filter(None, (part.strip() for part in line.split(';'))):
                kernel.statement(statement, self.place)

    def header(self, text, dynamic):
        match = re.match(r'.*\.entry\s+([\w$]+)\s*\((.*?)\)(.*)$', text, re.S)
        kernel = Kernel(match[1], dynamic)
        for parameter in filter(None, (part.strip() for part in match[2].split(','))):
            found = re.match(r'^\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+(?:\.ptr.*\s)?([\w$]+)(?:\[(\d+)\])?$', parameter)
            kind = size(found[2])
            kernel.add_parameter(found[3], int(found[1] or kind), kind * int(found[4] or 1))
        most = re.search(r'\.maxntid\s+(\d+)(?:,\s*(\d+),\s*(\d+))?', match[3])
        if most:
            kernel.most_threads = int(most[1]) * int(most[2] or 1) * int(most[3] or 1)
        return kernel

    def read(self):
        """Line by line: a kernel's header goes to the line {, its body to the line } in the first column."""
        text = re.sub(r'/\*.*?\*/', '', self.path.read_text(encoding='utf-8'), flags=re.S)
        kernel, header, dynamic, number = None, None, [], 0
        for number, raw in enumerate(text.split('\n'), 1):
            line = re.sub(r'//.*', '', raw).strip()
            try:
                if kernel is not None:
                    if raw.startswith('}'):
                        self.kernels.append(kernel)
                        kernel = None
                    elif line:
                        self.body_line(kernel, line)
                elif header is not None:
                    if line == '{':
                        kernel, header = self.header(header, dynamic), None
                    else:
                        header += ' ' + line
                elif '.entry' in line:
                    header = line
                elif line.startswith('.file'):
                    index, name = re.match(r'^\.file\s+(\d+)\s+"([^"]*)"', line).groups()
                    self.files[index] = name
                elif re.match(r'^\.extern\s+\.shared\b', line):
                    dynamic.append(re.search(r'([\w$]+)\[\];$', line)[1])
                elif re.match(r'^(\.visible\s+|\.weak\s+)*\.(func|global|const|shared)\b', line):
                    raise Unknown(line)
            except Unknown as error:
                sys.exit(f'{self.path}:{number}: translate.py does not know this: {error}\n  {line}')

    def text(self):
        out = io.StringIO()
        out.write('// Made by tests/ptx/translate.py.\n#include "tests/ptx/machine.h"\n\nnamespace ptx {\nnamespace {\n')
        for index, kernel in enumerate(self.kernels):
            write_kernel(out, kernel, index, self.files)
        out.write('\nconst Kernel kKernels[] = {\n')
        for index, k in enumerate(self.kernels):
            run, start = ('nullptr', f'kernel_{index}') if k.waits else (f'kernel_{index}', 'nullptr')
            out.write(f'    {{"{k.name}", {run}, {start}, kParameters{index}, kSites{index}, {k.parameter_bytes}, '
                      f'{k.shared_bytes}, {k.local_bytes}, {k.most_threads}}},\n')
        out.write('};\nconst Registered kRegistered(kKernels);\n\n}  // namespace\n}  // namespace ptx\n')
        return out.getvalue()


def write_kernel(out, kernel, index, files):
    out.write(f'\n// {kernel.name}\n{"Phases" if kernel.waits else "void"} kernel_{index}(Thread& t) {{\n')
    if kernel.dynamic:
        kernel.shared_bytes = -(-kernel.shared_bytes // 16) * 16
        out.write(f'  [[maybe_unused]] constexpr u32 kDynamic = {kernel.shared_bytes};\n')
    for kind in sorted(set(kernel.registers.values())):
        names = ', '.join(f'{name} = 0' for name, k in kernel.registers.items() if k == kind)
        out.write(f'  [[maybe_unused]] {kind} {names};\n')
    end = 'co_return' if kernel.waits else 'return'
    for line in kernel.code:
        out.write('  ' + line.replace('RETURN;', end + ';') + '\n')
    out.write('}\n')
    parameters = ', '.join(f'{{{offset}, {count}}}' for offset, count in kernel.parameters.values())
    out.write(f'constexpr Parameter kParameters{index}[] = {{{parameters}}};\n')
    sites = ', '.join(f'{{"{files.get(file, "?")}", {line}}}' for file, line in kernel.sites)
    out.write(f'constexpr Site kSites{index}[] = {{{sites}}};\n')


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for path in map(pathlib.Path, sys.argv[2:]):
        translator = Translator(path)
        translator.read()
        made = folder / (path.name.split('.')[0] + '.cpp')
        text = translator.text()
        # What stays as it is, is not compiled again.
        if not made.exists() or made.read_text(encoding='utf-8') != text:
            made.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
