//! A person whose client is built on the engine of Element X. The server is at
//! HEARTH_URL; registration is open. Standard output is as ../js/report.mjs says.

use std::{
    fmt::Debug,
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, pin_mut};
use imbl::Vector;
use matrix_sdk::{
    Client, Room, RoomState,
    ruma::{
        OwnedRoomId, UserId,
        api::client::{
            account::register::v3::Request as RegisterRequest,
            receipt::create_receipt::v3::ReceiptType,
            room::create_room::v3::{Request as CreateRoom, RoomPreset},
            uiaa::{AuthData, Dummy},
        },
        events::room::message::RoomMessageEventContent,
    },
};
use matrix_sdk_ui::{
    room_list_service::filters::new_filter_non_left,
    sync_service::SyncService,
    timeline::{RoomExt, Timeline},
};

const ROOMS: usize = 25;
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `probe` finds what is looked for.
async fn until<T, S: Debug, F: Future<Output = (Option<T>, S)>>(what: &str, mut probe: impl FnMut() -> F) -> Result<T> {
    let begin = Instant::now();
    loop {
        let (found, state) = probe().await;
        if let Some(found) = found {
            return Ok(found);
        }
        if begin.elapsed() > PATIENCE {
            bail!("waited in vain for {what}; there is {state:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes an account and logs in to it.
async fn join(url: &str, name: &str) -> Result<Client> {
    let client = Client::builder().homeserver_url(url).build().await?;
    let password = format!("the password of {name}");
    let mut request = RegisterRequest::new();
    request.username = Some(name.to_owned());
    request.password = Some(password.clone());
    request.auth = Some(AuthData::Dummy(Dummy::new()));
    request.inhibit_login = true;
    client.matrix_auth().register(request).await.context("register")?;
    client.matrix_auth().login_username(name, &password).initial_device_display_name("engine").send().await.context("log in")?;
    Ok(client)
}

/// Makes a room in which the other one is.
async fn share(owner: &Client, guest: &Client, name: &str) -> Result<Room> {
    let mut request = CreateRoom::new();
    request.name = Some(name.to_owned());
    request.preset = Some(RoomPreset::PrivateChat);
    request.invite = vec![guest.user_id().context("no user")?.to_owned()];
    let room = owner.create_room(request).await.context("create a room")?;
    guest.join_room_by_id(room.room_id()).await.context("join")?;
    Ok(room)
}

async fn say(room: &Room, body: &str) -> Result<()> {
    room.send(RoomMessageEventContent::text_plain(body)).await.with_context(|| format!("send {body}"))?;
    Ok(())
}

/// The messages that a timeline shows, and whether each has come back from the server.
async fn bodies(timeline: &Timeline) -> Vec<(String, bool)> {
    let items = timeline.items().await;
    let events = items.iter().filter_map(|item| item.as_event());
    events.filter_map(|e| Some((e.content().as_message()?.body().to_owned(), !e.is_local_echo()))).collect()
}

/// Waits until a timeline shows a message once, as the server has it.
async fn shows(timeline: &Timeline, body: &str) -> Result<()> {
    until(body, || async {
        let all = bodies(timeline).await;
        let found: Vec<_> = all.iter().filter(|(b, _)| b == body).collect();
        ((found.len() == 1 && found[0].1).then_some(()), all.clone())
    })
    .await
}

/// An application that is open: the engine and the list that it shows.
struct App {
    service: Arc<SyncService>,
    list: Arc<Mutex<Vector<OwnedRoomId>>>,
}

impl App {
    async fn open(client: &Client) -> Result<App> {
        let service = Arc::new(SyncService::builder(client.clone()).build().await.context("build the service")?);
        service.start().await;
        let list = Arc::new(Mutex::new(Vector::new()));
        let (shown, rooms) = (list.clone(), service.room_list_service());
        tokio::spawn(async move {
            let all = rooms.all_rooms().await.expect("the list of all rooms");
            let (stream, controller) = all.entries_with_dynamic_adapters(200);
            controller.set_filter(Box::new(new_filter_non_left()));
            pin_mut!(stream);
            while let Some(changes) = stream.next().await {
                let mut list = shown.lock().expect("the list");
                for change in changes {
                    change.map(|item| item.into_inner().room_id().to_owned()).apply(&mut list);
                }
            }
        });
        Ok(App { service, list })
    }

    /// Waits until the list has a room first.
    async fn begins_with(&self, room: &Room) -> Result<()> {
        until("the room at the top of the list", || async {
            let list = self.list.lock().expect("the list").clone();
            ((list.front().map(|id| id.as_ref()) == Some(room.room_id())).then_some(()), list)
        })
        .await
    }
}

#[derive(Default)]
struct World {
    alice: Option<Client>,
    bob: Option<Client>,
    rooms: Vec<Room>, // of bob
    app: Option<App>,
    timeline: Option<Timeline>,
}

impl World {
    fn alice(&self) -> &Client {
        self.alice.as_ref().expect("alice")
    }

    fn app(&self) -> &App {
        self.app.as_ref().expect("the application")
    }

    fn timeline(&self) -> &Timeline {
        self.timeline.as_ref().expect("a timeline")
    }

    /// A room as alice's client has it.
    fn mine(&self, room: &Room) -> Result<Room> {
        self.alice().get_room(room.room_id()).context("alice has no such room")
    }
}

async fn log_in(w: &mut World, url: &str) -> Result<()> {
    w.alice = Some(join(url, "alice").await?);
    w.bob = Some(join(url, "bob").await?);
    ensure!(w.alice().user_id() == Some(<&UserId>::try_from("@alice:localhost")?), "alice is {:?}", w.alice().user_id());
    Ok(())
}

async fn room_list(w: &mut World) -> Result<()> {
    let bob = w.bob.clone().context("bob")?;
    for i in 0..ROOMS {
        let room = share(&bob, w.alice(), &format!("Room {i}")).await?;
        say(&room, &format!("first in {i}")).await?;
        w.rooms.push(room);
    }
    w.app = Some(App::open(w.alice()).await?);
    until("all rooms", || async {
        let n = w.app().list.lock().expect("the list").len();
        ((n == ROOMS).then_some(()), n)
    })
    .await?;
    w.app().begins_with(&w.rooms[ROOMS - 1]).await?;
    for (i, room) in w.rooms.iter().enumerate() {
        let (mine, want) = (w.mine(room)?, format!("Room {i}"));
        until(&want, || async {
            let name = mine.display_name().await.map(|name| name.to_string());
            (name.as_ref().is_ok_and(|name| *name == want).then_some(()), name)
        })
        .await?;
    }
    Ok(())
}

async fn open_a_room(w: &mut World) -> Result<()> {
    let room = w.rooms[0].clone();
    for i in 0..5 {
        say(&room, &format!("more {i}")).await?;
    }
    w.app().service.room_list_service().subscribe_to_rooms(&[room.room_id()]).await;
    w.timeline = Some(w.mine(&room)?.timeline().await.context("timeline")?);
    for body in ["first in 0", "more 0", "more 4"] {
        shows(w.timeline(), body).await?;
    }
    Ok(())
}

async fn receive(w: &mut World) -> Result<()> {
    say(&w.rooms[0], "Hello Alice").await?;
    shows(w.timeline(), "Hello Alice").await?;
    w.app().begins_with(&w.rooms[0]).await?;
    // A room that is not open comes to the front.
    say(&w.rooms[3], "And here").await?;
    w.app().begins_with(&w.rooms[3]).await
}

async fn send(w: &mut World) -> Result<()> {
    w.timeline().send(RoomMessageEventContent::text_plain("Hello Bob").into()).await?;
    shows(w.timeline(), "Hello Bob").await
}

async fn mark_read(w: &mut World) -> Result<()> {
    let room = w.mine(&w.rooms[3])?;
    until("unread messages", || async {
        let n = room.unread_notification_counts();
        ((n.notification_count > 0).then_some(()), n.notification_count)
    })
    .await?;
    let timeline = room.timeline().await?;
    shows(&timeline, "And here").await?;
    ensure!(timeline.mark_as_read(ReceiptType::Read).await?, "no receipt was sent");
    until("no unread messages", || async {
        let n = room.unread_notification_counts();
        ((n.notification_count == 0).then_some(()), n.notification_count)
    })
    .await
}

async fn again(w: &mut World) -> Result<()> {
    w.app().service.stop().await;
    say(&w.rooms[7], "While you were away").await?;
    w.app = Some(App::open(w.alice()).await?);
    w.app().begins_with(&w.rooms[7]).await?;
    let timeline = w.mine(&w.rooms[7])?.timeline().await?;
    shows(&timeline, "While you were away").await?;
    ensure!(w.mine(&w.rooms[7])?.state() == RoomState::Joined, "alice is not in the room");
    Ok(())
}

/// Tells how a step went.
fn report(step: &str, begin: Instant, result: &Result<()>) {
    let ms = begin.elapsed().as_millis();
    match result {
        Ok(()) => println!("{{\"step\":{step:?},\"ms\":{ms}}}"),
        // Debug form of text is JSON but for characters that errors do not have.
        Err(e) => println!("{{\"step\":{step:?},\"ms\":{ms},\"error\":{:?}}}", format!("{e:#}")),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::var("HEARTH_URL").context("HEARTH_URL is not set")?;
    println!("{{\"plan\":[\"log in\",\"room list\",\"open a room\",\"receive\",\"send\",\"mark read\",\"open the application again\"]}}");
    let mut w = World::default();
    macro_rules! step {
        ($name:literal, $call:expr) => {
            let begin = Instant::now();
            let result = $call.await;
            report($name, begin, &result);
            result?;
        };
    }
    step!("log in", log_in(&mut w, &url));
    step!("room list", room_list(&mut w));
    step!("open a room", open_a_room(&mut w));
    step!("receive", receive(&mut w));
    step!("send", send(&mut w));
    step!("mark read", mark_read(&mut w));
    step!("open the application again", again(&mut w));
    println!("{{\"done\":true}}");
    Ok(())
}
