//! A connection to Redis, one server or a cluster.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Client, FromRedisValue as _, Pipeline, RedisResult, Value};

pub(super) enum Wire {
    One(MultiplexedConnection),
    Many(ClusterConnection),
}

impl Wire {
    pub async fn connect(url: &str) -> RedisResult<Self> {
        match url.split_once("+cluster://") {
            Some((scheme, rest)) => {
                let client = ClusterClient::new([format!("{scheme}://{rest}")])?;
                client.get_async_connection().await.map(Self::Many)
            }
            None => Client::open(url)?.get_multiplexed_async_connection().await.map(Self::One),
        }
    }

    /// What a key holds once it was set to `offered`, unless it held something before.
    pub async fn agree(&self, key: &str, offered: &str) -> RedisResult<String> {
        let mut commands = redis::pipe();
        commands.cmd("SET").arg(key).arg(offered).arg("NX").cmd("GET").arg(key);
        let answers = self.send(&commands, 2).await?;
        String::from_redis_value_ref(answers.last().unwrap_or(&Value::Nil)).map_err(Into::into)
    }

    /// What a key holds.
    pub async fn read(&self, key: &str) -> RedisResult<Option<String>> {
        let mut commands = redis::pipe();
        commands.cmd("GET").arg(key);
        let answers = self.send(&commands, 1).await?;
        Option::from_redis_value_ref(answers.last().unwrap_or(&Value::Nil)).map_err(Into::into)
    }

    /// Sets keys to values that live for so many milliseconds.
    pub async fn write(&self, all: impl Iterator<Item = (String, String, i64)>) -> RedisResult<()> {
        let mut commands = redis::pipe();
        let mut count = 0;
        for (key, value, ttl) in all {
            commands.cmd("SET").arg(key).arg(value).arg("PX").arg(ttl.max(1));
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        self.send(&commands, count).await.map(drop)
    }

    /// Tells all who listen to a channel.
    pub async fn publish(&self, channel: &str, message: &[u8]) -> RedisResult<()> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(message);
        match self {
            Self::One(connection) => connection.clone().req_packed_command(&command).await,
            Self::Many(connection) => connection.clone().req_packed_command(&command).await,
        }?
        .extract_error()
        .map(drop)
    }

    /// What hashes hold, in their order.
    pub async fn hashes(&self, keys: &[String]) -> RedisResult<Vec<Vec<(String, String)>>> {
        let mut commands = redis::pipe();
        for key in keys {
            commands.cmd("HGETALL").arg(key);
        }
        let hashes = if keys.is_empty() { Vec::new() } else { self.send(&commands, keys.len()).await? };
        hashes.into_iter().map(|hash| Vec::from_redis_value(hash).map_err(Into::into)).collect()
    }

    /// Runs a script on one key.
    pub async fn run(&self, script: &str, key: &str, arguments: &[&[u8]]) -> RedisResult<()> {
        let mut commands = redis::pipe();
        let command = commands.cmd("EVAL").arg(script).arg(1).arg(key);
        for argument in arguments {
            command.arg(*argument);
        }
        self.send(&commands, 1).await.map(drop)
    }

    async fn send(&self, commands: &Pipeline, count: usize) -> RedisResult<Vec<Value>> {
        let answers = match self {
            Self::One(connection) => connection.clone().req_packed_commands(commands, 0, count).await,
            Self::Many(connection) => connection.clone().req_packed_commands(commands, 0, count).await,
        }?;
        answers.into_iter().map(Value::extract_error).collect()
    }
}
