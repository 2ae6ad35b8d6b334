//! A reader of Python's pickles that runs nothing: it knows the opcodes that `torch.save` writes, and of all the functions that a
//! pickle may call only the few that build tensors and dictionaries, by name. Anything else is an error that says what it was.
//!
//! Objects lie in one list and refer to each other by number, so that nothing here is recursive, however deep the pickle nests.
//! Every opcode takes a byte and makes at most one object, and both are bounded: time and memory are linear in the bytes.

use super::cursor::Cursor;
use super::element::Element;
use super::error::Defect;
use std::collections::HashMap;

/// Most objects of one pickle. A state dict has about twenty for each tensor.
const MAX_OBJECTS: usize = 1 << 19;
/// Most references that lists, tuples and dictionaries hold in all.
const MAX_REFERENCES: usize = 1 << 21;

/// Number of an object of a pickle.
pub(super) type Id = usize;

/// What a pickle may name and call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2` and its predecessor without hooks
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`
    RebuildParameter,
    /// `torch.Size`
    Size,
    /// `torch.FloatStorage` and its kin
    Storage(Element),
    /// `torch.device`, `torch.float32` and what else is of no consequence
    Opaque,
}

/// Numbers in the file that tensors look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    /// What it is called.
    pub(super) key: &'a str,
    /// Type of its elements.
    pub(super) element: Element,
    /// How many elements it has.
    pub(super) numel: usize,
    /// Elements before it in the storage of that key: old files have storages that are part of others.
    pub(super) start: usize,
}

/// A tensor as the pickle describes it: nothing is checked yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Strided<'a> {
    /// What it looks at.
    pub(super) storage: Storage<'a>,
    /// Its first element.
    pub(super) offset: i64,
    /// Extents.
    pub(super) size: Vec<i64>,
    /// Elements between neighbours of each dimension.
    pub(super) stride: Vec<i64>,
}

/// An object of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object<'a> {
    None,
    Bool,
    Int(i64),
    /// A whole number beyond 64 bits, as its bytes.
    Long(&'a [u8]),
    Float,
    Str(&'a str),
    Bytes,
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list or a set.
    List(Vec<Id>),
    /// A dictionary, in order.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage<'a>),
    Tensor(Strided<'a>),
    /// Something that no tensor depends on.
    Opaque,
}

/// A pickle that was read: its objects and the one that it is.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    objects: Vec<Object<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads one pickle and leaves the cursor behind it.
    ///
    /// # Errors
    /// Bytes that are none, an opcode or a function that no state dict needs, too many objects.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Pickle<'a>, Defect> {
        let mut machine = Machine::default();
        loop {
            let at = cursor.clone();
            let opcode = cursor.u8()?;
            if opcode == b'.' {
                let root = machine.pop().map_err(|what| at.defect(what))?;
                return Ok(Pickle { objects: machine.objects, root });
            }
            match machine.step(opcode, cursor) {
                Ok(()) => {}
                Err(Stop::Cut(defect)) => return Err(defect),
                Err(Stop::Wrong(what)) => return Err(at.defect(what)),
            }
        }
    }

    /// The object that the pickle is.
    pub(super) fn root(&self) -> &Object<'a> {
        self.get(self.root)
    }

    /// All objects.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Object<'a>> {
        self.objects.iter()
    }

    /// An object by number.
    pub(super) fn get(&self, id: Id) -> &Object<'a> {
        self.objects.get(id).unwrap_or(&Object::Opaque)
    }
}

/// Why reading stops: the bytes end, or they make no sense where the opcode stands.
enum Stop {
    Cut(Defect),
    Wrong(String),
}

impl From<Defect> for Stop {
    fn from(defect: Defect) -> Stop {
        Stop::Cut(defect)
    }
}

impl From<String> for Stop {
    fn from(what: String) -> Stop {
        Stop::Wrong(what)
    }
}

#[derive(Debug, Default)]
struct Machine<'a> {
    objects: Vec<Object<'a>>,
    references: usize,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8, cursor: &mut Cursor<'a>) -> Result<(), Stop> {
        match opcode {
            // Protocol and frames: nothing to do.
            0x80 => drop(cursor.u8()?),
            0x95 => drop(cursor.u64()?),
            b'(' => {
                self.marks.push(self.stack.len());
                self.count(1)?;
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                self.count(1)?;
            }
            b'N' => self.push(Object::None)?,
            0x88 | 0x89 => self.push(Object::Bool)?,
            b'J' => self.push_int(i64::from(cursor.u32()? as i32))?,
            b'K' => self.push_int(i64::from(cursor.u8()?))?,
            b'M' => self.push_int(i64::from(cursor.u16()?))?,
            0x8a => {
                let length = usize::from(cursor.u8()?);
                let bytes = cursor.take(length)?;
                self.push(long(bytes))?;
            }
            b'G' => {
                cursor.u64()?;
                self.push(Object::Float)?;
            }
            b'X' | b'T' => self.push_text(cursor, |cursor| cursor.length(false))?,
            0x8c | b'U' => self.push_text(cursor, |cursor| cursor.u8().map(usize::from))?,
            0x8d => self.push_text(cursor, |cursor| cursor.length(true))?,
            b'B' | b'C' | 0x8e => {
                let length = match opcode {
                    b'C' => usize::from(cursor.u8()?),
                    _ => cursor.length(opcode == 0x8e)?,
                };
                cursor.take(length)?;
                self.push(Object::Bytes)?;
            }
            b'}' => self.push(Object::Dict(Vec::new()))?,
            b']' | 0x8f => self.push(Object::List(Vec::new()))?,
            b')' => self.push(Object::Tuple(Vec::new()))?,
            b't' => {
                let items = self.pop_mark()?;
                self.push_tuple(items)?;
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0..opcode - 0x84 {
                    items.insert(0, self.pop()?);
                }
                self.push_tuple(items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            b'q' => {
                let number = u32::from(cursor.u8()?);
                self.remember(number)?;
            }
            b'r' => {
                let number = cursor.u32()?;
                self.remember(number)?;
            }
            0x94 => {
                let number = self.memo.len() as u32;
                self.remember(number)?;
            }
            b'h' => {
                let number = u32::from(cursor.u8()?);
                self.recall(number)?;
            }
            b'j' => {
                let number = cursor.u32()?;
                self.recall(number)?;
            }
            b'c' => {
                let (module, name) = (cursor.line()?, cursor.line()?);
                self.push(Object::Global(global(module, name)?))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let found = match (&self.objects[module], &self.objects[name]) {
                    (Object::Str(module), Object::Str(name)) => global(module, name)?,
                    _ => return Err("a function whose name is no text".to_string().into()),
                };
                self.push(Object::Global(found))?;
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.call(function, arguments)?;
                self.push(made)?;
            }
            b'b' => {
                // What an ordered dictionary has besides its entries (`_metadata`) is of no use here.
                self.pop()?;
                let top = self.top()?;
                if !matches!(self.objects[top], Object::Dict(_) | Object::Opaque) {
                    return Err("state for an object that has none".to_string().into());
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Object::Storage(storage))?;
            }
            _ => {
                let shown = if opcode.is_ascii_graphic() { format!(" ({:?})", opcode as char) } else { String::new() };
                return Err(format!(
                    "opcode 0x{opcode:02x}{shown}, which no state dict needs; save the state dict alone"
                )
                .into());
            }
        }
        Ok(())
    }

    fn count(&mut self, references: usize) -> Result<(), String> {
        self.references += references;
        if self.references > MAX_REFERENCES {
            return Err(format!("more than {MAX_REFERENCES} entries"));
        }
        Ok(())
    }

    fn push(&mut self, object: Object<'a>) -> Result<(), String> {
        if self.objects.len() >= MAX_OBJECTS {
            return Err(format!("more than {MAX_OBJECTS} objects"));
        }
        self.objects.push(object);
        self.stack.push(self.objects.len() - 1);
        Ok(())
    }

    fn push_int(&mut self, value: i64) -> Result<(), String> {
        self.push(Object::Int(value))
    }

    fn push_text(
        &mut self,
        cursor: &mut Cursor<'a>,
        length: impl FnOnce(&mut Cursor<'a>) -> Result<usize, Defect>,
    ) -> Result<(), Stop> {
        let length = length(cursor)?;
        let text = cursor.text(length)?;
        Ok(self.push(Object::Str(text))?)
    }

    fn push_tuple(&mut self, items: Vec<Id>) -> Result<(), String> {
        self.count(items.len())?;
        self.push(Object::Tuple(items))
    }

    /// The top of the stack, above the last mark.
    fn top(&self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => Err("an operand is missing".to_string()),
        }
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or_else(|| "a mark is missing".to_string())?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        self.count(items.len())?;
        let top = self.top()?;
        match &mut self.objects[top] {
            Object::List(list) => list.extend(items),
            _ => return Err("items for something that is no list".to_string()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), String> {
        self.count(items.len())?;
        if !items.len().is_multiple_of(2) {
            return Err("a key without a value".to_string());
        }
        let top = self.top()?;
        match &mut self.objects[top] {
            Object::Dict(dict) => dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            _ => return Err("entries for something that is no dictionary".to_string()),
        }
        Ok(())
    }

    fn remember(&mut self, number: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, number: u32) -> Result<(), String> {
        let id = *self.memo.get(&number).ok_or_else(|| format!("object {number} is used before it is made"))?;
        self.count(1)?;
        self.stack.push(id);
        Ok(())
    }

    /// The items of a tuple, copied: a few numbers.
    fn tuple(&self, id: Id, what: &str) -> Result<&[Id], String> {
        match &self.objects[id] {
            Object::Tuple(items) => Ok(items),
            other => Err(format!("{what} must be a tuple, got {}", kind(other))),
        }
    }

    fn int(&self, id: Id, what: &str) -> Result<i64, String> {
        match &self.objects[id] {
            Object::Int(value) => Ok(*value),
            other => Err(format!("{what} must be a whole number, got {}", kind(other))),
        }
    }

    fn length(&self, id: Id, what: &str) -> Result<usize, String> {
        let value = self.int(id, what)?;
        usize::try_from(value).map_err(|_| format!("{what} must be at least 0, got {value}"))
    }

    fn ints(&self, id: Id, what: &str) -> Result<Vec<i64>, String> {
        let items = match &self.objects[id] {
            Object::Tuple(items) | Object::List(items) => items,
            other => return Err(format!("{what} must be a tuple, got {}", kind(other))),
        };
        items.iter().take(MAX_RANK + 1).map(|&id| self.int(id, what)).collect()
    }

    fn call(&mut self, function: Id, arguments: Id) -> Result<Object<'a>, String> {
        let items = self.tuple(arguments, "arguments")?;
        let Object::Global(function) = self.objects[function] else {
            return Err(format!("a call of {}, which is no function", kind(&self.objects[function])));
        };
        Ok(match (function, items) {
            (Global::OrderedDict, []) => Object::Dict(Vec::new()),
            // Python 2 hands the entries over as a list of pairs.
            (Global::OrderedDict, &[pairs]) => {
                let Object::List(pairs) = &self.objects[pairs] else {
                    return Err(format!("a dictionary of {}", kind(&self.objects[pairs])));
                };
                let mut dict = Vec::new();
                for &pair in pairs {
                    match &self.objects[pair] {
                        Object::Tuple(pair) | Object::List(pair) if pair.len() == 2 => dict.push((pair[0], pair[1])),
                        other => return Err(format!("a dictionary with {} for a pair", kind(other))),
                    }
                }
                self.count(2 * dict.len())?;
                Object::Dict(dict)
            }
            (Global::RebuildTensor, &[storage, offset, size, stride, ..]) => {
                let Object::Storage(storage) = self.objects[storage] else {
                    return Err(format!("a tensor on {}", kind(&self.objects[storage])));
                };
                let offset = self.int(offset, "the offset of a tensor")?;
                let (size, stride) = (self.ints(size, "the size of a tensor")?, self.ints(stride, "strides")?);
                Object::Tensor(Strided { storage, offset, size, stride })
            }
            (Global::RebuildParameter, &[tensor, ..]) => match &self.objects[tensor] {
                Object::Tensor(tensor) => Object::Tensor(tensor.clone()),
                other => return Err(format!("a parameter made of {}", kind(other))),
            },
            (Global::Size, &[extents]) => {
                Object::Tuple(self.tuple(extents, "a size")?.iter().take(16).copied().collect())
            }
            (Global::Opaque, _) => Object::Opaque,
            (function, items) => return Err(format!("a call of {function:?} with {} arguments", items.len())),
        })
    }

    /// `('storage', type, key, device, elements)` and, in old files, `(key, first element, elements)` of the part or `None`.
    fn storage(&self, id: Id) -> Result<Storage<'a>, String> {
        let items = self.tuple(id, "a persistent object")?;
        let &[tag, kind_id, key, _, numel, ref view @ ..] = items else {
            return Err(format!("a persistent object of {} parts", items.len()));
        };
        let (Object::Str("storage"), Object::Global(Global::Storage(element)), Object::Str(key)) =
            (&self.objects[tag], &self.objects[kind_id], &self.objects[key])
        else {
            return Err("a persistent object that is no storage".to_string());
        };
        let whole = Storage { key, element: *element, numel: self.length(numel, "elements of a storage")?, start: 0 };
        match view.first().map(|&view| &self.objects[view]) {
            None | Some(Object::None) => Ok(whole),
            Some(Object::Tuple(view)) if view.len() == 3 => {
                let start = self.length(view[1], "the first element of a storage")?;
                Ok(Storage { start, numel: self.length(view[2], "elements of a storage")?, ..whole })
            }
            Some(other) => Err(format!("a storage that is part of {}", kind(other))),
        }
    }
}

/// Extents are read up to one more than shapes have, so that the excess is seen and nothing large is copied.
const MAX_RANK: usize = 4;

fn long<'a>(bytes: &'a [u8]) -> Object<'a> {
    if bytes.len() > 8 {
        return Object::Long(bytes);
    }
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    Object::Int(i64::from_le_bytes(std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(fill))))
}

fn global(module: &str, name: &str) -> Result<Global, String> {
    let element = match name {
        "FloatStorage" => Some(Element::F32),
        "DoubleStorage" => Some(Element::F64),
        "HalfStorage" => Some(Element::F16),
        "BFloat16Storage" => Some(Element::Bf16),
        "LongStorage" => Some(Element::Whole(8)),
        "IntStorage" => Some(Element::Whole(4)),
        "ShortStorage" => Some(Element::Whole(2)),
        "CharStorage" | "ByteStorage" | "BoolStorage" => Some(Element::Whole(1)),
        _ => None,
    };
    let types = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"];
    Ok(match (module, name, element) {
        ("collections", "OrderedDict", _) => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor", _) => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter", _) => Global::RebuildParameter,
        ("torch" | "torch.cuda", _, Some(element)) => Global::Storage(element),
        ("torch", "Size", _) => Global::Size,
        ("torch", "device", _) => Global::Opaque,
        ("torch", name, _) if types.contains(&name) => Global::Opaque,
        _ => {
            return Err(format!(
                "it wants to call {module}.{name}, which is not among the few functions that tensors need, and nothing else \
                 is ever run; save model.state_dict() alone"
            ));
        }
    })
}

/// What an object is, in words.
pub(super) fn kind(object: &Object<'_>) -> &'static str {
    match object {
        Object::None => "None",
        Object::Bool => "a truth value",
        Object::Int(_) | Object::Long(_) => "a whole number",
        Object::Float => "a number",
        Object::Str(_) => "text",
        Object::Bytes => "bytes",
        Object::Tuple(_) => "a tuple",
        Object::List(_) => "a list",
        Object::Dict(_) => "a dictionary",
        Object::Global(_) => "a function",
        Object::Storage(_) => "a storage",
        Object::Tensor(_) => "a tensor",
        Object::Opaque => "something else",
    }
}
