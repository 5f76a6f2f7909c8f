//! Values of metadata keys.

use super::Strings;
use std::fmt;

macro_rules! values {
    ($($variant:ident $rust:ty, $array:ty = $id:literal $name:literal;)*) => {
        /// The type number of a value, as stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum ValueType { $(#[doc = $name] $variant = $id,)* #[doc = "array"] Array = 9 }

        /// One metadata value.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Value { $(#[doc = $name] $variant($rust),)* #[doc = "array"] Array(Array) }

        /// An array of values of one type. GGUF has no arrays of arrays here: llama.cpp refuses them.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Array { $(#[doc = $name] $variant($array),)* }

        impl ValueType {
            /// The type with this number.
            pub fn from_id(id: u32) -> Option<ValueType> {
                match id { $($id => Some(ValueType::$variant),)* 9 => Some(ValueType::Array), _ => None }
            }

            /// The name that `--override-kv` and listings use.
            pub fn name(self) -> &'static str {
                match self { $(ValueType::$variant => $name,)* ValueType::Array => "array" }
            }
        }

        impl Value {
            /// Its type.
            pub fn value_type(&self) -> ValueType {
                match self { $(Value::$variant(_) => ValueType::$variant,)* Value::Array(_) => ValueType::Array }
            }
        }

        impl Array {
            /// Type of the elements.
            pub fn element_type(&self) -> ValueType {
                match self { $(Array::$variant(_) => ValueType::$variant,)* }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(Array::$variant(v) => v.len(),)* }
            }

            /// The elements at these places.
            pub fn at(&self, places: &[usize]) -> Array {
                match self {
                    $(Array::$variant(v) => {
                        let found = places.iter().filter_map(|n| v.iter().nth(*n));
                        Array::$variant(found.map(|x| x.to_owned()).collect())
                    })*
                }
            }

            /// The first element.
            pub fn first(&self) -> Option<Value> {
                match self { $(Array::$variant(v) => v.iter().next().map(|x| Value::$variant(x.to_owned())),)* }
            }
        }

        impl fmt::Display for Value {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Value::$variant(v) => write!(f, "{v}"),)*
                    Value::Array(a) => write!(f, "{a}"),
                }
            }
        }

        impl fmt::Display for Array {
            /// The first few elements, and how many there are.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                const SHOWN: usize = 4;
                let more = if self.len() > SHOWN { ", ..." } else { "" };
                let shown: Vec<String> = match self {
                    $(Array::$variant(v) => v.iter().take(SHOWN).map(|x| format!("{x:?}")).collect(),)*
                };
                write!(f, "{}[{}] [{}{more}]", self.element_type().name(), self.len(), shown.join(", "))
            }
        }

        $(impl From<$rust> for Value { fn from(v: $rust) -> Value { Value::$variant(v) } })*
        $(impl From<Vec<$rust>> for Value { fn from(v: Vec<$rust>) -> Value { Value::Array(Array::$variant(v.into())) } })*
    };
}

values! {
    U8 u8, Vec<u8> = 0 "u8";
    I8 i8, Vec<i8> = 1 "i8";
    U16 u16, Vec<u16> = 2 "u16";
    I16 i16, Vec<i16> = 3 "i16";
    U32 u32, Vec<u32> = 4 "u32";
    I32 i32, Vec<i32> = 5 "i32";
    F32 f32, Vec<f32> = 6 "f32";
    Bool bool, Vec<bool> = 7 "bool";
    String String, Strings = 8 "str";
    U64 u64, Vec<u64> = 10 "u64";
    I64 i64, Vec<i64> = 11 "i64";
    F64 f64, Vec<f64> = 12 "f64";
}

impl From<Strings> for Value {
    fn from(v: Strings) -> Value {
        Value::Array(Array::String(v))
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::String(v.to_owned())
    }
}

impl Array {
    /// True when there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Value {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// Any integer that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::U64(v) => Some(v),
            Value::I8(v) => v.try_into().ok(),
            Value::I16(v) => v.try_into().ok(),
            Value::I32(v) => v.try_into().ok(),
            Value::I64(v) => v.try_into().ok(),
            _ => None,
        }
    }

    /// Any number.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            Value::I8(v) => Some(v.into()),
            Value::I16(v) => Some(v.into()),
            Value::I32(v) => Some(v.into()),
            Value::I64(v) => Some(v as f64),
            _ => self.as_u64().map(|v| v as f64),
        }
    }
}
