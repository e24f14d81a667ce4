//! Types that a gate can write: the trait, and what is built in. Objects, interfaces, unions and enums get it by derive.

use crate::load::Rows;
use crate::plan::{Compiler, Fields, Plan};
use crate::write::{Null, Writer};
use async_graphql::{Error, ID, Number, ServerResult};
use std::sync::Arc;

/// A value whose own fields are at hand. It says what is asked of it, which objects within it have relations to be loaded,
/// and writes itself without waiting.
pub trait Output: Send + Sync {
    /// True if it may be null: a failure within it goes no further.
    const NULLABLE: bool = false;

    /// What a selection set asks of this type.
    ///
    /// # Errors
    /// A selection of too many fields. Arguments that cannot be read fail their fields later, where they are executed.
    fn compile<'a>(compiler: &Compiler<'_, 'a>, fields: &Fields<'a>) -> ServerResult<Plan> {
        let _ = (compiler, fields);
        Ok(Plan::default())
    }

    /// Names the objects within it (and itself) whose relations are asked for, in the order in which `write` comes to them.
    fn gather<'r>(&'r self, plan: &'r Plan, rows: &mut Rows<'r>) {
        let _ = (plan, rows);
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// [`Null`] if it has failed. What was written of it then is taken back by whoever may be null.
    fn write(&self, plan: &Plan, writer: &mut Writer) -> Result<(), Null>;
}

impl Output for bool {
    fn write(&self, _: &Plan, writer: &mut Writer) -> Result<(), Null> {
        writer.raw(if *self { "true" } else { "false" });
        Ok(())
    }
}

/// A number that is not finite has failed (3.5.2 of the specification).
impl Output for f64 {
    fn write(&self, _: &Plan, writer: &mut Writer) -> Result<(), Null> {
        let Some(number) = Number::from_f64(*self) else {
            return Err(writer.fail(Error::new(format!("Float cannot represent {self}"))));
        };
        writer.raw(&number.to_string());
        Ok(())
    }
}

impl Output for f32 {
    fn write(&self, plan: &Plan, writer: &mut Writer) -> Result<(), Null> {
        f64::from(*self).write(plan, writer)
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {
        $(impl Output for $number {
            fn write(&self, _: &Plan, writer: &mut Writer) -> Result<(), Null> {
                writer.raw(itoa::Buffer::new().format(*self));
                Ok(())
            }
        })*
    };
}
whole_numbers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

impl Output for str {
    fn write(&self, _: &Plan, writer: &mut Writer) -> Result<(), Null> {
        writer.string(self);
        Ok(())
    }
}

impl Output for String {
    fn write(&self, _: &Plan, writer: &mut Writer) -> Result<(), Null> {
        writer.string(self);
        Ok(())
    }
}

impl Output for ID {
    fn write(&self, _: &Plan, writer: &mut Writer) -> Result<(), Null> {
        writer.string(&self.0);
        Ok(())
    }
}

impl<T: Output> Output for Option<T> {
    const NULLABLE: bool = true;

    fn compile<'a>(compiler: &Compiler<'_, 'a>, fields: &Fields<'a>) -> ServerResult<Plan> {
        T::compile(compiler, fields)
    }

    fn gather<'r>(&'r self, plan: &'r Plan, rows: &mut Rows<'r>) {
        if let Some(value) = self {
            value.gather(plan, rows);
        }
    }

    fn write(&self, plan: &Plan, writer: &mut Writer) -> Result<(), Null> {
        if let Some(value) = self {
            return value.write(plan, writer);
        }
        writer.raw("null");
        Ok(())
    }
}

/// A failure is reported where it is written.
impl<T: Output, E: Into<Error> + Clone + Send + Sync> Output for Result<T, E> {
    const NULLABLE: bool = T::NULLABLE;

    fn compile<'a>(compiler: &Compiler<'_, 'a>, fields: &Fields<'a>) -> ServerResult<Plan> {
        T::compile(compiler, fields)
    }

    fn gather<'r>(&'r self, plan: &'r Plan, rows: &mut Rows<'r>) {
        if let Ok(value) = self {
            value.gather(plan, rows);
        }
    }

    fn write(&self, plan: &Plan, writer: &mut Writer) -> Result<(), Null> {
        match self {
            Ok(value) => value.write(plan, writer),
            Err(error) => Err(writer.fail(error.clone().into())),
        }
    }
}

macro_rules! lists {
    ($($list:ty),*) => {
        $(impl<T: Output> Output for $list {
            fn compile<'a>(compiler: &Compiler<'_, 'a>, fields: &Fields<'a>) -> ServerResult<Plan> {
                T::compile(compiler, fields)
            }

            fn gather<'r>(&'r self, plan: &'r Plan, rows: &mut Rows<'r>) {
                for value in self {
                    value.gather(plan, rows);
                }
            }

            fn write(&self, plan: &Plan, writer: &mut Writer) -> Result<(), Null> {
                writer.list(self.iter(), plan)
            }
        })*
    };
}
lists!(Vec<T>, [T]);

macro_rules! pointers {
    ($($pointer:ty),*) => {
        $(impl<T: Output + ?Sized> Output for $pointer {
            const NULLABLE: bool = T::NULLABLE;

            fn compile<'a>(compiler: &Compiler<'_, 'a>, fields: &Fields<'a>) -> ServerResult<Plan> {
                T::compile(compiler, fields)
            }

            fn gather<'r>(&'r self, plan: &'r Plan, rows: &mut Rows<'r>) {
                (**self).gather(plan, rows);
            }

            fn write(&self, plan: &Plan, writer: &mut Writer) -> Result<(), Null> {
                (**self).write(plan, writer)
            }
        })*
    };
}
pointers!(Box<T>, Arc<T>, &T);
